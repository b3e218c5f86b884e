/**
 * Who is believed: the pinned identities, those that they introduce, the stage keys that identities certify, and what
 * was revoked.
 *
 * Everything has parents: a stage key the identities that certified it, an introduced identity those that introduced it.
 * A key is trusted while it is not revoked and a parent is trusted; a pinned identity needs none. Revocations stay for ever:
 * those of the pipeline file, and those that the zone's own identity or the owner's has signed (whose data it is may
 * always cut a zone off).
 * Must not: verify signatures (the directory has), or read topics. Source: DESIGN.md section 1 (trust root).
 */
import { hex, keyIdOf } from "./key-handles.ts";
import {
  PURPOSES,
  type SigningPurpose,
  type StageSigningPurpose,
  ZONE_IDENTITY,
  ZONES,
  type ZoneName,
} from "./key-purposes.ts";

/** Raw Ed25519 public keys that the pipeline file pins, one per zone or more while an identity is replaced. */
export type ZonePins = Readonly<Record<ZoneName, readonly Uint8Array[]>>;

/** What a pipeline file says of whom to believe. */
export interface TrustRoot {
  readonly zones: ZonePins;
  /** Hex kids of keys that are believed no more, whatever zone they are of. */
  readonly revoked?: readonly string[] | undefined;
}

/** A key that signs. */
export interface Signer {
  readonly publicKey: Uint8Array;
  readonly purpose: SigningPurpose;
}

/** A signer as it stands in a list of keys. */
export interface ListedSigner extends Signer {
  /** Hex. */
  readonly kid: string;
  readonly zone: ZoneName;
  /** 0: pinned in the pipeline file. */
  readonly generation: number;
  readonly trusted: boolean;
}

export interface Trust {
  /** A signer that is trusted now. @param kid hex */
  find(kid: string): Signer | null;
  isTrusted(kid: string): boolean;
  /** Whether a key of a zone was revoked. @param kid hex */
  isRevoked(kid: string, zone: ZoneName): boolean;
  /** A zone's trusted identity `by` introduces another one. */
  introduce(identity: {
    readonly zone: ZoneName;
    readonly publicKey: Uint8Array;
    readonly generation: number;
    readonly by: string;
  }): boolean;
  /** A zone's trusted identity `by` certifies a stage key. */
  certify(signer: {
    readonly purpose: StageSigningPurpose;
    readonly publicKey: Uint8Array;
    readonly generation: number;
    readonly by: string;
  }): boolean;
  /** @param by the zone whose identity signed the revocation */
  revoke(kid: string, zone: ZoneName, by: ZoneName): boolean;
  signers(): ListedSigner[];
  /** Hex kids. */
  revoked(): string[];
}

interface Known extends Signer {
  readonly zone: ZoneName;
  readonly generation: number;
  /** Hex kids of the parents; null: pinned. */
  readonly by: readonly string[] | null;
}

/** Whose word takes keys of every zone away, beside each zone's own. */
export const REVOKING_ZONE: ZoneName = "owner";

/** Signers and revocations: zones times rotations. */
const MAX_KNOWN = 4096;

/** Identities that vouch for one key: those of one zone in overlap, with room. The last ones count. */
const MAX_PARENTS = 8;

/** The parents of a key of which another identity says the same; the newest last. */
export function withParent(
  parents: readonly string[] | undefined,
  more: readonly string[],
): readonly string[] {
  return [...new Set([...(parents ?? []), ...more])].slice(-MAX_PARENTS);
}

export function createTrust(options: TrustRoot): Trust {
  const banned = new Set(options.revoked ?? []);
  const revocations = new Map<string, Set<ZoneName>>();
  const known = new Map<string, Known>();
  for (const zone of ZONES) {
    for (const pinned of options.zones[zone]) {
      const publicKey = new Uint8Array(pinned);
      const purpose = ZONE_IDENTITY[zone];
      known.set(hex(keyIdOf(publicKey)), { publicKey, purpose, zone, generation: 0, by: null });
    }
  }

  const isRevoked = (kid: string, zone: ZoneName) =>
    banned.has(kid) || revocations.get(kid)?.has(zone) === true;
  // Identities may introduce each other: a chain of parents counts only if it ends at one that is pinned.
  const isTrusted = (kid: string, below: readonly string[] = []): boolean => {
    const one = known.get(kid);
    if (one === undefined || below.includes(kid) || isRevoked(kid, one.zone)) return false;
    return one.by === null || one.by.some((parent) => isTrusted(parent, [...below, kid]));
  };
  const add = (one: Known & { readonly by: readonly string[] }): boolean => {
    const kid = hex(keyIdOf(one.publicKey));
    const before = known.get(kid);
    // A pinned identity, or a key certified for one purpose, does not become another one.
    if (before !== undefined && before.purpose !== one.purpose) return false;
    if (before === undefined && known.size >= MAX_KNOWN) return false;
    if (before?.by === null) return true;
    const publicKey = new Uint8Array(one.publicKey);
    const generation = Math.max(before?.generation ?? 0, one.generation);
    known.set(kid, { ...one, publicKey, generation, by: withParent(before?.by, one.by) });
    return true;
  };

  return {
    find(kid) {
      const one = isTrusted(kid) ? known.get(kid) : undefined;
      return one === undefined ? null : { publicKey: one.publicKey, purpose: one.purpose };
    },
    isTrusted: (kid) => isTrusted(kid),
    isRevoked,
    introduce: ({ zone, by, ...one }) =>
      add({ ...one, by: [by], zone, purpose: ZONE_IDENTITY[zone] }),
    certify: ({ by, ...one }) => add({ ...one, by: [by], zone: PURPOSES[one.purpose].zone }),
    revoke(kid, zone, by) {
      if (by !== zone && by !== REVOKING_ZONE) return false;
      const zones = revocations.get(kid) ?? new Set();
      if (revocations.size >= MAX_KNOWN && zones.size === 0) return false;
      revocations.set(kid, zones.add(zone));
      return true;
    },
    signers: () =>
      [...known].map(([kid, { publicKey, purpose, zone, generation }]) => {
        return { kid, publicKey, purpose, zone, generation, trusted: isTrusted(kid) };
      }),
    revoked: () => [...new Set([...banned, ...revocations.keys()])],
  };
}
