/**
 * Published keys to seal to: each zone's own by purpose, and third parties' by the name that a grant gives them.
 *
 * Of each, the newest generation counts that is not revoked and whose identity is trusted; a generation belongs to the
 * first key that claims it. Must not: verify signatures (the directory has).
 */
import { hex } from "./key-handles.ts";
import {
  type GrantTopic,
  PURPOSES,
  type UnwrapPurpose,
  ZONE_IDENTITY,
  type ZoneName,
  zoneOfTopic,
} from "./key-purposes.ts";
import { type Trust, withParent } from "./trust.ts";
import type { Recipient } from "./wrap/types.ts";

/** A third party that may read a topic. */
export interface Grant {
  readonly name: string;
  readonly recipient: Recipient;
}

/** A key as it stands in a list. */
export interface ListedRecipient {
  readonly recipient: Recipient;
  readonly generation: number;
  readonly zone: ZoneName;
  /** Whose it is: a purpose of ours, or a grant. */
  readonly of:
    | { readonly purpose: UnwrapPurpose }
    | { readonly topic: GrantTopic; readonly name: string };
  /** Neither revoked, nor published by an identity that is. */
  readonly trusted: boolean;
  /** The one that is sealed to now. */
  readonly current: boolean;
}

interface Entry {
  readonly generation: number;
  readonly recipient: Recipient;
  /** Hex kids of the identities that say so. */
  readonly by: readonly string[];
}

type Said = Omit<Entry, "by"> & { readonly by: string };

type Owner = ListedRecipient["of"];

interface Ring {
  readonly of: Owner;
  readonly zone: ZoneName;
  /** By generation. */
  readonly keys: Map<number, Entry>;
}

export interface PublishedKeys {
  publish(entry: Said & { readonly purpose: UnwrapPurpose }): boolean;
  grant(entry: Said & { readonly topic: GrantTopic; readonly name: string }): boolean;
  recipient(purpose: UnwrapPurpose): Recipient | null;
  grants(topic: GrantTopic): readonly Grant[];
  /** Purpose under which a key of a zone was published, revoked or not. @param kid hex */
  purposeOf(kid: string): UnwrapPurpose | null;
  all(): ListedRecipient[];
}

/** Third parties of one topic: recipients of a content key, with room for a zone's own. */
const MAX_GRANTS = 24;
/** Names of one topic in all, with those whose key is believed no more. */
const MAX_NAMES = 4096;
/** Keys of one purpose or name: rotations. */
const MAX_GENERATIONS = 1024;

export function createPublishedKeys(trust: Pick<Trust, "isTrusted" | "isRevoked">): PublishedKeys {
  const zones = new Map<UnwrapPurpose, Ring>();
  const grants = new Map<string, Ring>();
  const purposes = new Map<string, UnwrapPurpose>();

  const counts = (zone: ZoneName, { recipient, by }: Entry) =>
    by.some((kid) => trust.isTrusted(kid, [ZONE_IDENTITY[zone]])) &&
    !trust.isRevoked(hex(recipient.kid), zone);
  const newest = ({ zone, keys }: Ring): Entry | null =>
    [...keys.values()]
      .filter((entry) => counts(zone, entry))
      .reduce<Entry | null>((a, b) => (a !== null && a.generation > b.generation ? a : b), null);
  const put = (ring: Ring, { generation, recipient, by }: Said): boolean => {
    const current = newest(ring);
    const same = ring.keys.get(generation);
    const isSame = same !== undefined && Buffer.compare(same.recipient.kid, recipient.kid) === 0;
    if (same !== undefined && !isSame && counts(ring.zone, same)) return false;
    if (current !== null && current.generation > generation) return false;
    if (same === undefined && ring.keys.size >= MAX_GENERATIONS) return false;
    const parents = withParent(isSame ? same.by : [], [by]);
    ring.keys.set(generation, { generation, recipient, by: parents });
    return true;
  };

  return {
    publish({ purpose, ...entry }) {
      const { zone } = PURPOSES[purpose];
      const ring = zones.get(purpose) ?? { of: { purpose }, zone, keys: new Map() };
      zones.set(purpose, ring);
      if (!put(ring, entry)) return false;
      purposes.set(hex(entry.recipient.kid), purpose);
      return true;
    },
    grant({ topic, name, ...entry }) {
      const id = `${topic}/${name}`;
      const known = grants.get(id);
      const current = [...grants].filter(([, { of }]) => "topic" in of && of.topic === topic);
      const believed = current.filter(([, ring]) => newest(ring) !== null);
      if (!believed.some(([one]) => one === id) && believed.length >= MAX_GRANTS) return false;
      if (known === undefined && current.length >= MAX_NAMES) return false;
      const zone = zoneOfTopic(topic);
      const ring: Ring = known ?? { of: { topic, name }, zone, keys: new Map() };
      grants.set(id, ring);
      return put(ring, entry);
    },
    recipient(purpose) {
      const ring = zones.get(purpose);
      return (ring && newest(ring)?.recipient) ?? null;
    },
    grants: (topic) =>
      [...grants.values()].flatMap((ring) => {
        const found = newest(ring);
        return found !== null && "topic" in ring.of && ring.of.topic === topic
          ? [{ name: ring.of.name, recipient: found.recipient }]
          : [];
      }),
    purposeOf: (kid) => purposes.get(kid) ?? null,
    all: () =>
      [...zones.values(), ...grants.values()].flatMap((ring) => {
        const current = newest(ring);
        return [...ring.keys.values()].map((entry) => ({
          recipient: entry.recipient,
          generation: entry.generation,
          zone: ring.zone,
          of: ring.of,
          trusted: counts(ring.zone, entry),
          current: entry === current,
        }));
      }),
  };
}
