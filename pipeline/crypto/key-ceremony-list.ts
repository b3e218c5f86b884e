/**
 * What a directory and key folders say together: every key with its state, and data keys by who opens them.
 *
 * Only public halves go in and come out. Must not: read files or topics, or print.
 */
import type { KeyListing } from "./directory.ts";
import { publicHalfOf } from "./key-ceremony-halves.ts";
import type { KeyFile } from "./key-file.ts";
import { hex } from "./key-handles.ts";
import {
  type GrantTopic,
  isStageSigning,
  PURPOSES,
  type Purpose,
  type SealedTopic,
  type ZoneName,
} from "./key-purposes.ts";

/** `untrusted`: nobody who is believed says so, or no longer. */
export type KeyState = "current" | "previous" | "revoked" | "untrusted";

/** A published key, and whether its private half is in the folders. */
export interface KeyRow {
  readonly what: "identity" | "signer" | "recipient" | "grant" | "ckks";
  readonly zone: ZoneName;
  /** `reader` for a grant; of CKKS keys that of the secret key. */
  readonly purpose: Purpose | "reader";
  /** Of a grant: topic and name. */
  readonly grant: { readonly topic: GrantTopic; readonly name: string } | null;
  readonly generation: number;
  readonly algorithm: string;
  /** Hex; of CKKS keys the id of the public key. */
  readonly kid: string;
  readonly state: KeyState;
  /** Whether the private half is in the folders. */
  readonly here: boolean;
}

/** Data keys of one lane of a topic. */
export interface DataKeyRow {
  readonly topic: SealedTopic;
  readonly lane: number;
  readonly count: number;
  /** How many each published key opens that is believed now: by purpose or, for grants, `reader NAME`. */
  readonly opens: Readonly<Record<string, number>>;
  /** How many no published key opens that is believed now. */
  readonly nobody: number;
  /** How many a private key in the folders opens. */
  readonly here: number;
}

/** Private halves in the folders. */
export interface KeysHere {
  /** Hex kids of key pairs. */
  readonly kids: ReadonlySet<string>;
  /** Generations of the CKKS secret key. */
  readonly ckks: ReadonlySet<number>;
  readonly purposes: ReadonlySet<Purpose>;
}

export function keysHere(files: readonly KeyFile[]): KeysHere {
  const halves = files.flatMap((file) => publicHalfOf(file) ?? []);
  const ckks = files.filter(({ purpose }) => purpose === "ckks-secret");
  return {
    kids: new Set(halves.map(({ kid }) => hex(kid))),
    ckks: new Set(ckks.map(({ generation }) => generation)),
    purposes: new Set(files.map(({ purpose }) => purpose)),
  };
}

/** Every published key, zone by zone, the newest first. */
export function keyRows(listing: KeyListing, here: KeysHere): KeyRow[] {
  const revoked = new Set(listing.revoked);
  const stateOf = (kid: string, trusted: boolean, current: boolean): KeyState => {
    if (revoked.has(kid)) return "revoked";
    if (!trusted) return "untrusted";
    return current ? "current" : "previous";
  };
  const seen = new Set<string>();
  const isFirst = (purpose: string): boolean => !seen.has(purpose) && seen.add(purpose) !== null;
  // Identities as the file pins them, the newest first; stage keys by generation.
  const ordered = listing.signers.toSorted((a, b) =>
    isStageSigning(a.purpose) && isStageSigning(b.purpose) ? b.generation - a.generation : 0,
  );
  const signers = ordered.map(({ kid, purpose, zone, generation, trusted }): KeyRow => {
    const state = stateOf(kid, trusted, trusted && !revoked.has(kid) && isFirst(purpose));
    const what = isStageSigning(purpose) ? "signer" : "identity";
    const common = { zone, purpose, generation, kid, state, here: here.kids.has(kid) };
    return { what, grant: null, algorithm: "ed25519", ...common };
  });
  const recipients = listing.recipients.map((one): KeyRow => {
    const { of, zone, generation, trusted, current, recipient } = one;
    const kid = hex(recipient.kid);
    const state = stateOf(kid, trusted, current);
    const { algorithm } = recipient;
    const common = { zone, generation, algorithm, kid, state, here: here.kids.has(kid) };
    return "name" in of
      ? { what: "grant", purpose: "reader", grant: of, ...common }
      : { what: "recipient", purpose: of.purpose, grant: null, ...common };
  });
  const trustedSigners = new Set(
    listing.signers.filter((one) => one.trusted).map(({ kid }) => kid),
  );
  const ckks = listing.blobs
    .filter(({ purpose }) => purpose === "ckks-public")
    .map(({ id, generation, parameters, by }): KeyRow => {
      const { zone } = PURPOSES["ckks-secret"];
      const trusted = by.some((kid) => trustedSigners.has(kid));
      const state = stateOf(id, trusted, trusted && isFirst("ckks-secret"));
      const common = { zone, generation, algorithm: parameters, kid: id, state };
      const isHere = here.ckks.has(generation);
      return { what: "ckks", purpose: "ckks-secret", grant: null, ...common, here: isHere };
    });
  return [...signers, ...recipients, ...ckks];
}

/** Data keys that are believed, summed by topic and lane. */
export function dataKeyRows(listing: KeyListing, here: KeysHere): DataKeyRow[] {
  const openers = new Map<string, string>();
  for (const { recipient, trusted, of } of listing.recipients) {
    if (trusted) openers.set(hex(recipient.kid), "name" in of ? `reader ${of.name}` : of.purpose);
  }
  const rows = new Map<string, DataKeyRow & { opens: Record<string, number> }>();
  for (const { payload, trusted } of listing.dataKeys) {
    if (!trusted) continue;
    const { topic, lane } = payload;
    const kids = payload.recipients.map(({ kid }) => hex(kid));
    const who = new Set(kids.flatMap((kid) => openers.get(kid) ?? []));
    const id = `${topic}/${lane}`;
    const row = rows.get(id) ?? { topic, lane, count: 0, opens: {}, nobody: 0, here: 0 };
    for (const name of who) row.opens[name] = (row.opens[name] ?? 0) + 1;
    rows.set(id, {
      ...row,
      count: row.count + 1,
      nobody: row.nobody + (who.size === 0 ? 1 : 0),
      here: row.here + (kids.some((kid) => here.kids.has(kid)) ? 1 : 0),
    });
  }
  return [...rows.values()].toSorted((a, b) => a.topic.localeCompare(b.topic) || a.lane - b.lane);
}
