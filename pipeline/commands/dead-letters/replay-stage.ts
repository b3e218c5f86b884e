/**
 * Replays the letters of one stage: first every chosen letter is judged, then those that may go back go, in order.
 *
 * A letter goes back only when all of this holds: it was not replayed before, nor was its record; it opens under its
 * headers; it is what still lies at the offset it names; the rules of the pipeline file accept the record now; no
 * record with its id came through; it was not replayed too often. The checks run after the fence, so that no other
 * replay writes between them and the transactions; what is judged is opened again when it is written, not held.
 */

import type { AnyUnwrapKey } from "../../crypto/wrap/types.ts";
import type { Reason, StreamRecord } from "../../stream/contract.ts";
import {
  type LetterHeaders,
  REPLAYS_HEADER,
  readLetterHeaders,
  replaysOf,
} from "../../stream/dead-letter.ts";
import { OffsetSet } from "../../stream/dead-letter-offsets.ts";
import {
  commitReplay,
  deadNames,
  isReceipt,
  MAX_ENTRIES,
  type ReceiptGuard,
  type ReplayableStage,
  type Replayed,
  type ReplayItem,
  readReplayed,
  readThrough,
} from "../../stream/dead-letter-replay.ts";
import type { LaneProducer } from "../../stream/port.ts";
import { collectEvidence, type Evidence, type EvidenceOptions, idHash } from "./evidence.ts";
import type { Judge } from "./judge.ts";
import { openLetter } from "./open-letter.ts";
import { isSame } from "./same-record.ts";
import { SourceReader } from "./source-reader.ts";
import type { Verdict } from "./verdicts.ts";

/** Which letters were asked for; null: any. */
export interface Selection {
  readonly partition: number | null;
  readonly offset: number | null;
  readonly reason: Reason | null;
}

export interface ReplayStageOptions extends EvidenceOptions {
  readonly stage: ReplayableStage;
  readonly selection: Selection;
  readonly maxAttempts: number;
  /** Also letters whose record retention has removed. */
  readonly unverified: boolean;
  /** Null: nothing is written. */
  readonly producer: LaneProducer | null;
  readonly guard: ReceiptGuard;
  readonly ownerKeys: readonly AnyUnwrapKey[];
  readonly judge: Judge;
  /** Hashes of the ids that this command has replayed; added to. */
  readonly replayedIds: Set<string>;
  readonly onVerdict: (letter: JudgedLetter) => void;
}

/** What became of a letter. */
export interface JudgedLetter {
  readonly stage: string;
  readonly partition: number;
  /** Of the letter. */
  readonly offset: number;
  readonly verdict: Verdict;
  /** Why the rules refuse its record. */
  readonly reason: Reason | null;
}

/** A letter whose record passes; the record itself is not held. */
interface Candidate {
  readonly offset: number;
  readonly source: number;
  readonly id: string;
  /** The partition of the stage's input that it goes back to. */
  readonly target: number;
  /** When it may have been written at the earliest. */
  readonly sinceMs: number;
}

/** A partition of the `.dead` topic on its way through a replay. */
interface Lane {
  readonly partition: number;
  readonly replayed: Replayed;
  /** Offsets of the records that letters before this one tell of. */
  readonly seen: OffsetSet;
  /** Of the part judged last. */
  candidates: Candidate[];
  /** First letter that stays behind. */
  firstKept: number;
  /** Where judging goes on. */
  next: number;
  isJudged: boolean;
}

/** Candidates held at once: some 20 MB; there are rounds of them. */
const MOST_CANDIDATES = 100_000;
/** Records handed to the rules at once. */
const JUDGE_RECORDS = 256;
const JUDGE_BYTES = 4 * 1024 * 1024;
const TRANSACTION_BYTES = 4 * 1024 * 1024;

/** Replays what was asked for; a signal ends it between two transactions. */
export async function replayStage(options: ReplayStageOptions): Promise<void> {
  let waiting = await openLanes(options);
  while (waiting.length > 0 && !options.signal.aborted) {
    const judged: Lane[] = [];
    let count = 0;
    for (const lane of waiting) {
      if (count >= MOST_CANDIDATES || options.signal.aborted) break;
      await judgeLane(options, lane, MOST_CANDIDATES - count);
      count += lane.candidates.length;
      judged.push(lane);
    }
    await writeLanes(options, judged);
    waiting = waiting.filter((lane) => !lane.isJudged);
  }
}

/** The chosen partitions, with what was replayed before. */
async function openLanes(options: ReplayStageOptions): Promise<Lane[]> {
  const { client, pipeline, stage, guard, patienceMs, partitions, selection } = options;
  const lanes: Lane[] = [];
  for (let partition = 0; partition < partitions; partition += 1) {
    if ((selection.partition ?? partition) !== partition) continue;
    const place = { pipeline, stage, partition };
    lanes.push({
      partition,
      replayed: await readReplayed({ client, place, guard, patienceMs }),
      seen: new OffsetSet(),
      candidates: [],
      firstKept: Number.POSITIVE_INFINITY,
      next: 0,
      isJudged: false,
    });
  }
  return lanes;
}

/** Looks downstream for all candidates at once, and puts back those that never came through. */
async function writeLanes(options: ReplayStageOptions, lanes: readonly Lane[]): Promise<void> {
  const ids = new Set(lanes.flatMap(({ candidates }) => candidates.map(({ id }) => id)));
  if (ids.size === 0) return;
  const evidence = await collectEvidence(options, ids, options.ownerKeys);
  for (const lane of lanes) {
    const chosen = lane.candidates.filter((one) => mayReturn(options, lane, one, evidence));
    await writeLane(options, lane, chosen);
  }
}

/** Whether a record never came through, as far as anybody can tell; says so when it did. */
function mayReturn(
  options: ReplayStageOptions,
  lane: Lane,
  { id, source, sinceMs, offset }: Candidate,
  evidence: Evidence,
): boolean {
  const own = options.stage === "encrypt" ? { partition: lane.partition, offset: source } : null;
  const refuse = (verdict: Verdict): false => {
    keep(options, lane, { offset, verdict });
    return false;
  };
  if (options.replayedIds.has(id)) return refuse("same-id");
  if (evidence.cameThrough(id, own)) return refuse("came-through");
  if (sinceMs < evidence.completeSinceMs) return refuse("evidence-expired");
  options.replayedIds.add(id);
  return true;
}

/** Leaves a letter where it is. */
function keep(
  { stage, onVerdict }: ReplayStageOptions,
  lane: Lane,
  {
    offset,
    verdict,
    reason = null,
  }: {
    readonly offset: number;
    readonly verdict: Verdict;
    readonly reason?: Reason | null;
  },
): void {
  lane.firstKept = Math.min(lane.firstKept, offset);
  onVerdict({ stage, partition: lane.partition, offset, verdict, reason });
}

interface Opened {
  readonly offset: number;
  readonly sinceMs: number;
  readonly headers: LetterHeaders;
  readonly record: StreamRecord;
}

/** Reads on in a partition's letters and finds those whose record passes now, up to `most` of them. */
async function judgeLane(options: ReplayStageOptions, lane: Lane, most: number): Promise<void> {
  const { client, pipeline, stage, patienceMs, selection } = options;
  const { partition } = lane;
  const { input, dead } = deadNames({ pipeline, stage });
  const sources = new SourceReader(client, input, partition);
  let waiting: Opened[] = [];
  let bytes = 0;
  lane.candidates = [];
  lane.isJudged = true;
  const flush = async (): Promise<void> => {
    await judgeWaiting(options, lane, waiting);
    waiting = [];
    bytes = 0;
  };
  try {
    await readThrough({
      client,
      topic: dead,
      partition,
      from: lane.next,
      patienceMs,
      apply: async (letter) => {
        if (options.signal.aborted || lane.candidates.length + waiting.length >= most) {
          lane.isJudged = false;
          return false;
        }
        lane.next = letter.offset + 1;
        if (isReceipt(letter)) return undefined;
        const headers = readLetterHeaders(letter.headers, { stage, topic: input, partition });
        if (!isSelected(selection, letter.offset, headers)) {
          if (!lane.replayed.letters.has(letter.offset)) {
            lane.firstKept = Math.min(lane.firstKept, letter.offset);
          }
          return undefined;
        }
        const opened = await openOne(options, lane, { letter, headers, sources });
        if (opened === null) return undefined;
        lane.seen.add(opened.headers.offset);
        waiting.push(opened);
        bytes += letter.value?.byteLength ?? 0;
        if (waiting.length >= JUDGE_RECORDS || bytes >= JUDGE_BYTES) await flush();
        return undefined;
      },
    });
    await flush();
  } finally {
    await sources.close();
  }
}

function isSelected(wanted: Selection, offset: number, headers: LetterHeaders | null): boolean {
  const { reason } = wanted;
  return (wanted.offset ?? offset) === offset && (reason === null || reason === headers?.reason);
}

/** Opens a letter and holds it against its source; null when it stays where it is. */
async function openOne(
  options: ReplayStageOptions,
  lane: Lane,
  given: {
    readonly letter: StreamRecord;
    readonly headers: LetterHeaders | null;
    readonly sources: SourceReader;
  },
): Promise<Opened | null> {
  const { letter, headers, sources } = given;
  const refuse = (verdict: Verdict): null => {
    keep(options, lane, { offset: letter.offset, verdict });
    return null;
  };
  if (headers === null) return refuse("malformed");
  // A receipt is signed and names the letter; what the letter says of its record counts only once it has opened.
  if (lane.replayed.letters.has(letter.offset)) {
    tell(options, lane.partition, letter.offset, "already-replayed");
    return null;
  }
  const { pipeline, ownerKeys: keys } = options;
  const opened = openLetter({ pipeline, headers, value: letter.value, keys });
  if (opened.status === "refused") return refuse("edited");
  if (lane.replayed.sources.has(headers.offset)) {
    tell(options, lane.partition, letter.offset, "already-replayed");
    return null;
  }
  if (lane.seen.has(headers.offset)) return refuse("same-id");
  if (opened.status === "digest") return refuse("too-large");
  if (replaysOf(opened.record.headers) >= options.maxAttempts) return refuse("too-many-attempts");
  const source = await sources.find(headers.offset);
  if (source.status === "nothing") return refuse("not-the-source");
  if (source.status === "expired" && !options.unverified) return refuse("source-expired");
  if (source.status === "found" && !isSame(source.record, opened.record)) {
    return refuse("not-the-source");
  }
  const sinceMs = Math.min(letter.timestampMs, opened.record.timestampMs);
  return { offset: letter.offset, sinceMs, headers, record: opened.record };
}

async function judgeWaiting(
  options: ReplayStageOptions,
  lane: Lane,
  waiting: readonly Opened[],
): Promise<void> {
  if (waiting.length === 0) return;
  const judged = await options.judge.judge(waiting.map(({ record }) => record));
  for (const [index, { offset, headers, sinceMs }] of waiting.entries()) {
    const verdict = judged[index];
    if (verdict?.status === "passes") {
      const target = verdict.partition ?? lane.partition;
      const id = idHash(verdict.id);
      lane.candidates.push({ offset, source: headers.offset, id, target, sinceMs });
    } else {
      keep(options, lane, { offset, verdict: "still-refused", reason: verdict?.reason ?? null });
    }
  }
}

/** Opens the chosen letters again and puts their records back, some hundred in a transaction. */
async function writeLane(
  options: ReplayStageOptions,
  lane: Lane,
  chosen: readonly Candidate[],
): Promise<void> {
  const { client, pipeline, stage, producer, patienceMs, ownerKeys: keys } = options;
  const { partition } = lane;
  const [first] = chosen;
  const last = chosen.at(-1);
  if (first === undefined || last === undefined) return;
  if (producer === null) {
    for (const { offset } of chosen) tell(options, partition, offset, "would-replay");
    return;
  }
  const place = { pipeline, stage, partition };
  const { input, dead } = deadNames(place);
  let next = 0;
  let items: ReplayItem[] = [];
  let bytes = 0;
  const commit = async (): Promise<void> => {
    if (items.length === 0) return;
    const position = Math.min(lane.firstKept, chosen[next]?.offset ?? lane.next);
    await commitReplay({ producer, place, guard: options.guard, items, position });
    for (const { letter } of items) tell(options, partition, letter, "replayed");
    items = [];
    bytes = 0;
  };
  /** Retention may have removed letters since they were judged: those behind them still go back. */
  const skipVanished = (before: number): void => {
    for (let one = chosen[next]; one !== undefined && one.offset < before; one = chosen[next]) {
      tell(options, partition, one.offset, "letter-expired");
      next += 1;
    }
  };
  await readThrough({
    client,
    topic: dead,
    partition,
    from: first.offset,
    to: last.offset + 1,
    patienceMs,
    apply: async (letter) => {
      if (options.signal.aborted) return false;
      skipVanished(letter.offset);
      const candidate = chosen[next];
      if (candidate === undefined || letter.offset !== candidate.offset) return undefined;
      next += 1;
      const headers = readLetterHeaders(letter.headers, { stage, topic: input, partition });
      const opened =
        headers === null ? null : openLetter({ pipeline, headers, value: letter.value, keys });
      if (opened?.status !== "whole") {
        tell(options, partition, letter.offset, "edited");
        return undefined;
      }
      items.push({
        letter: letter.offset,
        source: candidate.source,
        partition: candidate.target,
        record: replayRecord(opened.record),
      });
      bytes += letter.value?.byteLength ?? 0;
      if (items.length >= MAX_ENTRIES || bytes >= TRANSACTION_BYTES) await commit();
      return undefined;
    },
  });
  await commit();
  if (!options.signal.aborted) skipVanished(Number.POSITIVE_INFINITY);
}

function tell(
  { stage, onVerdict }: ReplayStageOptions,
  partition: number,
  offset: number,
  verdict: Verdict,
): void {
  onVerdict({ stage, partition, offset, verdict, reason: null });
}

/** The record as it was, and how often it has gone back. */
function replayRecord({ key, value, headers }: StreamRecord) {
  const replays = new TextEncoder().encode(String(replaysOf(headers) + 1));
  return { key, value, headers: { ...headers, [REPLAYS_HEADER]: replays } };
}
