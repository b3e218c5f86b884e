/**
 * What every key management service behind the `Kms` interface does: a suite that any implementation passes.
 *
 * Another one (AWS, Google, Azure) joins with its file under `pipeline/crypto/kms/`, built on patient.ts, a scheme of its
 * own ("aws:arn...", "gcp:projects/...", "azure:vault/..."), a line in `kmsFor` of pipeline/commands/key-access.ts, and a
 * test file that calls this suite: with keys of a real account or an emulator, or with recorded answers named as such.
 * The binding goes where the service authenticates it (AWS: encryption context, Google: additional authenticated data);
 * where it cannot (Azure, RSA keys), it stands in the plaintext, as in rsa-bound.ts.
 */
import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { type Kms, MAX_KMS_CIPHERTEXT_BYTES } from "../../../pipeline/crypto/kms/kms.ts";
import { isSealstreamError } from "../../../pipeline/errors.ts";

export interface KmsContract {
  readonly kms: Kms;
  /** A symmetric key that wraps; null where the service has none. */
  readonly symmetric: string | null;
  /** An asymmetric one; null where the service has none. */
  readonly asymmetric: string | null;
  /** A key that is not there. */
  readonly missing: string;
  /** The same service with credentials that may do nothing. */
  readonly stranger: Kms;
}

const utf8 = (text: string) => new Uint8Array(Buffer.from(text));

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "nothing";
  } catch (error) {
    return isSealstreamError(error) ? error.code : String(error);
  }
}

/** @param open makes the service, once */
export function kmsContract(open: () => Promise<KmsContract>): void {
  let opened: Promise<KmsContract> | null = null;
  const contract = () => {
    opened ??= open();
    return opened;
  };

  for (const kind of ["symmetric", "asymmetric"] as const) {
    test(`a content key comes back from a ${kind} key, and only for its binding`, async () => {
      const { kms, [kind]: uri } = await contract();
      if (uri === null) return;
      const key = new Uint8Array(randomBytes(32));
      const before = Buffer.from(key);
      const wrapped = await kms.wrap(uri, key, utf8("this place"));
      expect(Buffer.from(key)).toEqual(before);
      expect(wrapped.length).toBeGreaterThan(0);
      expect(wrapped.length).toBeLessThanOrEqual(MAX_KMS_CIPHERTEXT_BYTES);
      expect(Buffer.from(wrapped).includes(before)).toBe(false);
      expect(await kms.unwrap(uri, wrapped, utf8("this place"))).toEqual(key);
      expect(await kms.unwrap(uri, wrapped, utf8("another place"))).toBeNull();
      expect(await kms.unwrap(uri, wrapped, utf8(""))).toBeNull();
      const again = await kms.wrap(uri, key, utf8("this place"));
      expect(Buffer.compare(again, wrapped)).not.toBe(0);
    });

    test(`what was changed does not open under a ${kind} key, and nothing else either`, async () => {
      const { kms, [kind]: uri } = await contract();
      if (uri === null) return;
      const key = new Uint8Array(randomBytes(32));
      const wrapped = await kms.wrap(uri, key, utf8("b"));
      const last = wrapped.length - 1;
      for (const at of [0, 7, Math.floor(wrapped.length / 2), last - 3]) {
        const changed = new Uint8Array(wrapped);
        // Another letter of base64, so that form alone does not refuse it.
        changed[at] = changed[at] === 0x41 ? 0x42 : 0x41;
        expect(await kms.unwrap(uri, changed, utf8("b")), `byte ${at}`).toBeNull();
      }
      for (const junk of [
        wrapped.slice(0, last),
        wrapped.slice(0, 20),
        new Uint8Array(0),
        new Uint8Array(40),
        new Uint8Array(MAX_KMS_CIPHERTEXT_BYTES + 1).fill(0x41),
      ]) {
        expect(await kms.unwrap(uri, junk, utf8("b")), `${junk.length} bytes`).toBeNull();
      }
    });
  }

  test("a public key is SPKI of an asymmetric key alone", async () => {
    const { kms, symmetric, asymmetric } = await contract();
    if (symmetric !== null) expect(await kms.publicKey(symmetric)).toBeNull();
    if (asymmetric !== null) expect((await kms.publicKey(asymmetric))?.[0]).toBe(0x30);
  });

  test("a key that is not there is missing, and wrapping does not make it", async () => {
    const { kms, missing } = await contract();
    for (let times = 0; times < 2; times += 1) {
      expect(await codeOf(kms.wrap(missing, new Uint8Array(32), utf8("b")))).toBe("key-missing");
      expect(await codeOf(kms.publicKey(missing))).toBe("key-missing");
    }
  });

  test("who may not is told so", async () => {
    const { stranger, symmetric, asymmetric } = await contract();
    const uri = symmetric ?? asymmetric ?? "";
    expect(await codeOf(stranger.wrap(uri, new Uint8Array(32), utf8("b")))).toBe("access-denied");
  });

  test("a URI of another form is refused", async () => {
    const { kms } = await contract();
    const [scheme] = kms.schemes;
    for (const uri of ["", "x", `${scheme}:`, `${scheme}:/`, `${scheme}:../keys/a`, "other:a/b"]) {
      expect(await codeOf(kms.wrap(uri, new Uint8Array(32), utf8("b"))), uri).toBe("key-invalid");
    }
  });
}
