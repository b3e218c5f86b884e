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
  /** The public key of a kid (hex) and what it is trusted for; null when for nothing. */
  find(
    kid: string,
  ): { readonly publicKey: Uint8Array; readonly purposes: readonly SigningPurpose[] } | null;
  /** Whether a kid (hex) is trusted for one of these purposes. */
  isTrusted(kid: string, purposes: readonly SigningPurpose[]): boolean;
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
  readonly kid: string;
  readonly zone: ZoneName;
  readonly generation: number;
  /** Hex kids of the identities of its zone that say so; null: pinned. */
  readonly by: readonly string[] | null;
}

/** Whose word takes keys of every zone away, beside each zone's own. */
export const REVOKING_ZONE: ZoneName = "owner";

/** Signers of one zone, and revocations by one: rotations. No zone can fill another's. */
const MAX_PER_ZONE = 2048;

/** Identities that vouch for one key: those of one zone in overlap, with room. The last ones count. */
const MAX_PARENTS = 8;

/** The parents of a key of which another identity says the same; the newest last. */
export function withParent(
  parents: readonly string[] | undefined,
  more: readonly string[],
): readonly string[] {
  return [...new Set([...(parents ?? []), ...more])].slice(-MAX_PARENTS);
}

/** A key may be claimed for several purposes, as nobody proves to have it: each claim stands for itself. */
const nameOf = (purpose: SigningPurpose, kid: string) => `${purpose}/${kid}`;

export function createTrust(options: TrustRoot): Trust {
  const revocations = createRevocations(options.revoked ?? []);
  const known = new Map<string, Known>();
  const byKid = new Map<string, Set<string>>();
  let trusted: ReadonlySet<string> | null = null;

  const put = (one: Known) => {
    const name = nameOf(one.purpose, one.kid);
    known.set(name, one);
    byKid.set(one.kid, (byKid.get(one.kid) ?? new Set()).add(name));
    trusted = null;
  };
  for (const zone of ZONES) {
    for (const pinned of options.zones[zone]) {
      const publicKey = new Uint8Array(pinned);
      const kid = hex(keyIdOf(publicKey));
      put({ publicKey, kid, purpose: ZONE_IDENTITY[zone], zone, generation: 0, by: null });
    }
  }

  const names = (): ReadonlySet<string> => {
    trusted ??= trustedOf(known.values(), revocations.has);
    return trusted;
  };
  const isTrusted = (kid: string, purposes: readonly SigningPurpose[]) =>
    purposes.some((purpose) => names().has(nameOf(purpose, kid)));
  /** Room for one more key of a zone: what is not trusted gives way. */
  const hasRoom = (zone: ZoneName): boolean => {
    const ofZone = [...known].filter(([, one]) => one.zone === zone);
    if (ofZone.length < MAX_PER_ZONE) return true;
    const useless = ofZone.filter(([name]) => !names().has(name));
    for (const [name, one] of useless) {
      known.delete(name);
      byKid.get(one.kid)?.delete(name);
    }
    return useless.length > 0;
  };
  const add = (one: Omit<Known, "kid" | "by"> & { readonly by: string }): boolean => {
    const kid = hex(keyIdOf(one.publicKey));
    const before = known.get(nameOf(one.purpose, kid));
    if (before?.by === null) return true;
    if (before === undefined && !hasRoom(one.zone)) return false;
    const publicKey = new Uint8Array(one.publicKey);
    const generation = Math.max(before?.generation ?? 0, one.generation);
    put({ ...one, publicKey, kid, generation, by: withParent(before?.by, [one.by]) });
    return true;
  };

  return {
    find(kid) {
      const found = [...(byKid.get(kid) ?? [])].filter((name) => names().has(name));
      const ones = found.flatMap((name) => known.get(name) ?? []);
      const [first] = ones;
      if (first === undefined) return null;
      return { publicKey: first.publicKey, purposes: ones.map(({ purpose }) => purpose) };
    },
    isTrusted,
    isRevoked: revocations.has,
    introduce: ({ zone, ...one }) => add({ ...one, zone, purpose: ZONE_IDENTITY[zone] }),
    certify: (one) => add({ ...one, zone: PURPOSES[one.purpose].zone }),
    revoke(kid, zone, by) {
      trusted = null;
      return revocations.add(kid, zone, by);
    },
    signers: () =>
      [...known].map(([name, { kid, publicKey, purpose, zone, generation }]) => {
        return { kid, publicKey, purpose, zone, generation, trusted: names().has(name) };
      }),
    revoked: () => revocations.kids(),
  };
}

/** What was revoked. @param banned hex kids that the pipeline file revokes, whatever zone they are of */
function createRevocations(banned: readonly string[]) {
  const inFile = new Set(banned);
  /** By the zone that made them: "<zone of the key>/<kid>". */
  const made = new Map<ZoneName, Set<string>>(ZONES.map((zone) => [zone, new Set()]));
  return {
    has: (kid: string, zone: ZoneName): boolean =>
      inFile.has(kid) || [zone, REVOKING_ZONE].some((by) => made.get(by)?.has(`${zone}/${kid}`)),
    add(kid: string, zone: ZoneName, by: ZoneName): boolean {
      const ofMaker = made.get(by);
      if (ofMaker === undefined || (by !== zone && by !== REVOKING_ZONE)) return false;
      // The owner's word about other zones has room of its own, whatever is said of its own keys.
      const ofSame = [...ofMaker].filter((one) => one.startsWith(`${zone}/`));
      const name = `${zone}/${kid}`;
      if (!ofMaker.has(name) && ofSame.length >= MAX_PER_ZONE) return false;
      ofMaker.add(name);
      return true;
    },
    kids: (): string[] => {
      const names = [...made.values()].flatMap((names) => [...names]);
      return [...new Set([...inFile, ...names.map((name) => name.slice(name.indexOf("/") + 1))])];
    },
  };
}

/** The names of what is trusted: found from the pinned identities down, each once, whoever introduces whom. */
function trustedOf(
  all: Iterable<Known>,
  isRevoked: (kid: string, zone: ZoneName) => boolean,
): ReadonlySet<string> {
  const children = new Map<string, Known[]>();
  const found: Known[] = [];
  for (const one of all) {
    if (isRevoked(one.kid, one.zone)) continue;
    if (one.by === null) found.push(one);
    for (const parent of one.by ?? []) {
      const name = nameOf(ZONE_IDENTITY[one.zone], parent);
      const siblings = children.get(name) ?? [];
      siblings.push(one);
      children.set(name, siblings);
    }
  }
  const trusted = new Set<string>();
  for (let one = found.pop(); one !== undefined; one = found.pop()) {
    const name = nameOf(one.purpose, one.kid);
    if (trusted.has(name)) continue;
    trusted.add(name);
    found.push(...(children.get(name) ?? []));
  }
  return trusted;
}
