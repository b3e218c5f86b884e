/**
 * The inbox: which contributions count, in the order of the log.
 *
 * A contribution counts when its envelope opens, it is of this run and was made with its
 * configuration, it has the run's shape, and its range begins where
 * its lane's last one ended. Everything else becomes a dead letter, with one exception: an authentic contribution that
 * leaves a gap or overlaps in part cannot be left out without losing records nor taken without counting some twice, so
 * the stage stops. A whole range that was counted already is a copy (anybody who may write to the topic can make one):
 * it changes no count and is refused, so that nobody can stop training by copying a record.
 *
 * A record whose data key is not known holds up everything behind it, because the order of the log fixes every update.
 * It waits until the view of `keys` has everything that was in that topic when the record was first seen. A data key's
 * entry is written before the first record sealed under it becomes visible, so what is refused then as `key-unknown` is
 * never authentic, however late the view is. When that is known depends on time, so it is committed before anything is
 * made of what is behind it (invariant 9; decisions.ts). Must not sum, or forget a record that is not final.
 */
import { sha256 } from "../../crypto/chunks.ts";
import type { KeyDirectory } from "../../crypto/directory.ts";
import { type OpenedEnvelope, openEnvelope } from "../../crypto/envelope.ts";
import { SealstreamError } from "../../errors.ts";
import { type Contribution, decodeContribution } from "../../privacy/contribution.ts";
import type { Outcome, Reason, StreamRecord } from "../../stream/contract.ts";

/** A contribution that counts and is not in an update yet. */
export interface PendingContribution {
  readonly offset: number;
  readonly contribution: Contribution;
  /** SHA-256 of the record's value: of the sealed envelope, never of what is in it (privacy/contribution.ts). */
  readonly digest: Uint8Array;
}

/** What is known of the records from the lane's position on: a pure value. */
export interface Inbox {
  /** Records before this offset have been looked at. */
  readonly examinedTo: number;
  readonly pending: readonly PendingContribution[];
  readonly refused: readonly Outcome[];
  /** Whether the next record waits for its data key. */
  readonly isBlocked: boolean;
  /** When records were first handed in, by rising offset: one entry for each call that brought new ones. */
  readonly seen: readonly Seen[];
}

/** Records before offset `to`, and not before that of the entry before, were first handed in at `atMs`. */
interface Seen {
  readonly to: number;
  readonly atMs: number;
}

/** An inbox after a look at what is new. */
export interface Examined {
  readonly inbox: Inbox;
  /** Offsets that were refused just now for want of a key: a decision to commit before the inbox is used. */
  readonly givenUp: readonly number[];
}

/** What a contribution is held against. */
export interface InboxRules {
  readonly pipeline: string;
  readonly directory: KeyDirectory;
  readonly runId: string;
  readonly configHash: string;
  readonly modelVersion: number;
  /** Numbers of a contribution. */
  readonly coordinates: number;
  readonly places: number;
  readonly fractionBits: number;
  /** Where each lane's next range begins after the newest entry; a lane that is not in it may begin anywhere. */
  readonly laneNext: Readonly<Record<string, number>>;
  /** Offsets that were refused for want of a key, for good. */
  readonly refusedForKey: readonly number[];
  /**
   * Ms since the epoch: every entry that was in `keys` before then is in the directory. Asked after a record's key was
   * looked for, since that may start an unwrapping elsewhere.
   */
  readonly keysFreshAsOf: () => number;
  /** Told of everything that counts whenever there is one more: noise is made while the rest is unsealed. */
  readonly onPending?: ((pending: readonly PendingContribution[]) => void) | undefined;
}

export const LANE_HEADER = "sealstream-lane";
const SCHEMA_VERSION = 1;
/** Runs out at 2^32: lanes are Kafka partitions. */
const LANE = /^(?:0|[1-9][0-9]{0,8})$/;
const RECORD_ID = /^([0-9a-f]{32})\/([0-9]{1,9})\/([0-9]{1,16})-([0-9]{1,16})$/;
/** The longest id of the form above. */
const MAX_ID_BYTES = 32 + 1 + 9 + 1 + 16 + 1 + 16;

export function emptyInbox(position: number): Inbox {
  return { examinedTo: position, pending: [], refused: [], isBlocked: false, seen: [] };
}

/**
 * The inbox after the records that it has not looked at yet, up to the first that has to wait.
 * @throws state-mismatch on a gap or a partial overlap of authentic ranges, or a model version that does not exist
 */
export function examine(
  inbox: Inbox,
  records: readonly StreamRecord[],
  rules: InboxRules,
  nowMs: number,
): Examined {
  const pending = [...inbox.pending];
  const refused = [...inbox.refused];
  const givenUp: number[] = [];
  const seen = marked(inbox.seen, records, nowMs);
  const laneNext: Record<string, number> = { ...rules.laneNext };
  for (const { contribution } of pending) laneNext[contribution.lane] = contribution.to;
  let { examinedTo } = inbox;
  for (const record of records) {
    if (record.offset < inbox.examinedTo) continue;
    let verdict = judge(record, rules, laneNext);
    if (verdict === "wait") {
      if (rules.keysFreshAsOf() <= firstSeenMs(seen, record.offset)) {
        return { inbox: { examinedTo, pending, refused, isBlocked: true, seen }, givenUp };
      }
      givenUp.push(record.offset);
      verdict = "key-unknown";
    }
    if (typeof verdict === "string") {
      refused.push({ offset: record.offset, kind: "dead-letter", reason: verdict });
    } else {
      pending.push(verdict);
      rules.onPending?.(pending);
      laneNext[verdict.contribution.lane] = verdict.contribution.to;
    }
    examinedTo = record.offset + 1;
  }
  return { inbox: { examinedTo, pending, refused, isBlocked: false, seen }, givenUp };
}

/** Marks what is new; all of it at once, also behind a record that waits, so that waits do not add up. */
function marked(
  seen: readonly Seen[],
  records: readonly StreamRecord[],
  nowMs: number,
): readonly Seen[] {
  const to = (records.at(-1)?.offset ?? -1) + 1;
  return to > (seen.at(-1)?.to ?? 0) ? [...seen, { to, atMs: nowMs }] : seen;
}

function firstSeenMs(seen: readonly Seen[], offset: number): number {
  return seen.find(({ to }) => to > offset)?.atMs ?? Number.POSITIVE_INFINITY;
}

/** The oldest refused records that no contribution which counts is before, at most `most`. */
export function refusedPrefix({ pending, refused }: Inbox, most: number): readonly Outcome[] {
  const firstPending = pending[0]?.offset ?? Number.POSITIVE_INFINITY;
  return refused.slice(0, most).filter(({ offset }) => offset < firstPending);
}

/** The inbox once everything before `offset` is final. */
export function consumeTo(inbox: Inbox, offset: number): Inbox {
  return {
    ...inbox,
    pending: inbox.pending.filter((item) => item.offset >= offset),
    refused: inbox.refused.filter((outcome) => outcome.offset >= offset),
    seen: inbox.seen.filter(({ to }) => to > offset),
  };
}

type Verdict = PendingContribution | Reason | "wait";

function judge(
  record: StreamRecord,
  rules: InboxRules,
  laneNext: Readonly<Record<string, number>>,
): Verdict {
  if (record.value === null) return "tombstone";
  if (rules.refusedForKey.includes(record.offset)) return "key-unknown";
  const opened = open(record, record.value, rules);
  if (typeof opened === "string") return opened;
  const contribution = decodeContribution(opened.plaintext, rules.coordinates);
  if (contribution === null || !hasRunsShape(contribution, record.key, rules)) {
    return "contribution-refused";
  }
  if (contribution.modelVersion > rules.modelVersion) {
    throw new SealstreamError(
      "state-mismatch",
      `Contribution ${record.offset} is of model version ${contribution.modelVersion}, the ledger ends at ${rules.modelVersion}: entries were lost. Start a new generation of the pipeline.`,
    );
  }
  const { lane, from, to } = contribution;
  const next = laneNext[lane] ?? from;
  if (to <= next) return "contribution-refused";
  if (from !== next) {
    throw new SealstreamError(
      "state-mismatch",
      `Contribution ${record.offset} covers ${from} to ${to} of lane ${lane}, which continues at ${next}: records would be ${from > next ? "lost" : "counted twice"}. Find out why train and ledger disagree; start a new generation of the pipeline.`,
    );
  }
  return { offset: record.offset, contribution, digest: sha256(record.value) };
}

/** The opened envelope, or what becomes of the record instead. */
function open(
  { key, headers }: StreamRecord,
  envelope: Uint8Array,
  rules: InboxRules,
): Extract<OpenedEnvelope, { status: "ok" }> | Reason | "wait" {
  const runId = key === null ? null : (parseId(key)?.[1] ?? null);
  const lane = parseLane(headers[LANE_HEADER]);
  if (key === null || runId === null || lane === null) return "contribution-refused";
  // Before its key is asked for: whoever wrote it, it is no contribution to this run, and need not be waited for.
  if (runId !== rules.runId) return "other-run";
  const opened = openEnvelope({
    envelope,
    context: {
      pipeline: rules.pipeline,
      topic: "contributions",
      lane,
      recordId: key,
      schemaVersion: SCHEMA_VERSION,
    },
    findKey: (kid) => rules.directory.findDataKey(kid, "contributions"),
  });
  if (opened.status === "unknown-key") return "wait";
  return opened.status === "ok" ? opened : "contribution-refused";
}

function hasRunsShape(
  contribution: Contribution,
  key: Uint8Array | null,
  rules: InboxRules,
): boolean {
  const id = key === null ? null : parseId(key);
  return (
    contribution.runId === id?.[1] &&
    contribution.configHash === rules.configHash &&
    contribution.lane === Number(id[2]) &&
    contribution.from === Number(id[3]) &&
    contribution.to === Number(id[4]) &&
    contribution.places === rules.places &&
    contribution.fractionBits === rules.fractionBits
  );
}

function parseId(key: Uint8Array): RegExpExecArray | null {
  return key.length > MAX_ID_BYTES ? null : RECORD_ID.exec(Buffer.from(key).toString("latin1"));
}

function parseLane(header: Uint8Array | undefined): number | null {
  const text = header === undefined ? "" : Buffer.from(header).toString("latin1");
  return LANE.test(text) ? Number(text) : null;
}
