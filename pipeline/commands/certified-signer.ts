/**
 * Signs with the newest key of a holder that its zone has certified, and knows all of them again.
 *
 * A key file may lie in the folder before its certificate is in `keys` (sealstream keys rotate writes it first): what it
 * signed would be believed by nobody. Which key it is, is asked anew with each signature, so that the switch needs nobody.
 * Must not: read folders or topics.
 */
import type { KeyDirectory } from "../crypto/directory.ts";
import { createLiveSigner, type SigningKey } from "../crypto/key-handles.ts";
import type { SigningPurpose } from "../crypto/key-purposes.ts";
import type { KeyStore } from "../crypto/key-store.ts";

/** What is asked of either. */
export type SignerRing = Pick<KeyStore, "signing" | "signingAll">;
type Certificates = Pick<KeyDirectory, "findSigner">;

/** The same store, whose signers are {@link certifiedSigner}s. */
export function withCertifiedSigners(keys: KeyStore, directory: Certificates): KeyStore {
  return { ...keys, signing: (purpose) => certifiedSigner(keys, directory, purpose) };
}

/**
 * A live handle: the newest key that is certified for the purpose and not revoked; while none is, the newest.
 * @throws `key-missing` as `keys.signing` does
 */
export function certifiedSigner(
  keys: SignerRing,
  directory: Certificates,
  purpose: SigningPurpose,
): SigningKey {
  const newest = keys.signing(purpose);
  return createLiveSigner(purpose, () => {
    const ring = keys.signingAll(purpose);
    return ring.find(({ kid }) => directory.findSigner(kid, [purpose]) !== null) ?? newest;
  });
}

/** The holder's own key of this kid, of any generation, or null. */
export function ownSigner(
  keys: Pick<KeyStore, "signingAll">,
  purpose: SigningPurpose,
  kid: Uint8Array,
): SigningKey | null {
  const own = keys.signingAll(purpose).find((one) => Buffer.compare(one.kid, kid) === 0);
  return own ?? null;
}
