/**
 * What each topic must hold, derived from the topic before it as the independent reader saw it. Pure.
 *
 * `raw` is the input: whatever is in it must come through exactly once. Ids are record keys; dead letters, whose keys are
 * null, are known by the offset in their header; bundles by their id; contributions by lane and range, which follow from
 * the places among the examples. Two things only the owner of a key can see come from the command line: which records a
 * prediction bundle holds (`sealstream predictions`), and the ranges of the ledger (`sealstream ledger --verify`).
 */
import { compareHop, type Hop } from "./checker.ts";
import { type PrintedRecord, printedBytes } from "./console-reader.ts";
import { type InputKind, kindOf } from "./input.ts";
import { CONTRIBUTIONS_PER_UPDATE, LANES, MICRO_BATCH } from "./pipeline-file.ts";

/** Topics that are read, by their names after the pipeline's, with their number of partitions. */
export const READ_TOPICS = {
  raw: LANES,
  "raw.dead": LANES,
  desensitized: LANES,
  "desensitized.dead": LANES,
  examples: LANES,
  "examples.dead": LANES,
  packs: LANES,
  "packs.dead": LANES,
  predictions: LANES,
  contributions: 1,
  "contributions.dead": 1,
  ledger: 1,
} as const satisfies Record<string, number>;
export type ReadTopic = keyof typeof READ_TOPICS;

export interface Evidence {
  readonly topics: Readonly<Record<ReadTopic, readonly (readonly PrintedRecord[])[]>>;
  /** By partition, in order; null is garbage. */
  readonly acknowledged: readonly (readonly (string | null)[])[];
  /** Records that the feeder may have written twice. */
  readonly doubtful: number;
  /** In the order in which the client library yields them. */
  readonly predictions: readonly { readonly recordId: string; readonly lane: number }[];
  /** Ranges of the ledger's entries, in order, as `lane/from-to`. */
  readonly ledgerRanges: readonly string[];
  readonly ledgerEntries: number;
}

export interface Inspection {
  readonly hops: readonly Hop[];
  /** What is wrong and is no count. */
  readonly findings: readonly string[];
}

type Lanes = readonly (readonly PrintedRecord[])[];

const GARBAGE = "garbage";
const OFFSET_HEADER = "__connect.errors.offset";
const ID_BYTES = 16;

function keys(lanes: Lanes): string[][] {
  return lanes.map((lane) => lane.map(({ key }) => key ?? GARBAGE));
}

/** Offsets of the records that must be refused. */
function refusedOffsets(lanes: Lanes, isRefused: (id: string | null) => boolean): string[][] {
  return lanes.map((lane) =>
    lane.filter(({ key }) => isRefused(key)).map(({ offset }) => String(offset)),
  );
}

function letterOffsets(lanes: Lanes): string[][] {
  return lanes.map((lane) => lane.map(({ headers }) => headers[OFFSET_HEADER] ?? "no header"));
}

function ofKind(lanes: Lanes, kind: InputKind): string[][] {
  return keys(lanes).map((lane) => lane.filter((id) => kindOf(id) === kind));
}

function isGarbage(id: string | null): boolean {
  return id === null || kindOf(id) === null;
}

interface OpenBundle {
  readonly id: string;
  /** Chunks so far. */
  readonly chunks: number;
}

/** The bundle after one more record, which must be its next chunk or its manifest; null: the record fits nowhere. */
function goOn(
  open: OpenBundle | null,
  { key, headers }: PrintedRecord,
): (OpenBundle & { isWhole: boolean }) | null {
  const bytes = printedBytes(key ?? "");
  const id = bytes.subarray(0, ID_BYTES).toString("hex");
  const chunks = open?.chunks ?? 0;
  if (open !== null && open.id !== id) return null;
  if (headers["sealstream-type"] === "manifest") {
    return bytes.length === ID_BYTES && chunks > 0 ? { id, chunks, isWhole: true } : null;
  }
  const isNext = bytes.length === ID_BYTES + 4 && bytes.readUInt32BE(ID_BYTES) === chunks;
  return isNext ? { id, chunks: chunks + 1, isWhole: false } : null;
}

/** Hex ids of the bundles of each lane, in order; a bundle is its chunks from 0 on and then its manifest. */
export function bundlesOf(topic: string, lanes: Lanes): { ids: string[][]; findings: string[] } {
  const findings: string[] = [];
  const ids = lanes.map((lane, partition) => {
    const whole: string[] = [];
    let open: OpenBundle | null = null;
    for (const record of lane) {
      // A record that does not go on with the open bundle may begin one; the open one is broken then.
      const next: ReturnType<typeof goOn> = goOn(open, record) ?? goOn(null, record);
      if (next === null || (open !== null && next.id !== open.id)) {
        findings.push(`${topic}/${partition}: a bundle is broken at offset ${record.offset}`);
      }
      if (next?.isWhole === true) whole.push(next.id);
      open = next?.isWhole === false ? next : null;
    }
    if (open !== null) findings.push(`${topic}/${partition} ends within a bundle`);
    return whole;
  });
  return { ids, findings };
}

/** Ranges that follow from the examples: every micro-batch ends with its last place. */
export function expectedRanges(examples: Lanes): string[][] {
  return examples.map((lane, partition) => {
    const ranges: string[] = [];
    let from = 0;
    let places = 0;
    for (const { offset, headers } of lane) {
      if (headers["sealstream-split"] !== "train") continue;
      places += 1;
      if (places === MICRO_BATCH) {
        ranges.push(`${partition}/${from}-${offset + 1}`);
        from = offset + 1;
        places = 0;
      }
    }
    return ranges;
  });
}

/** Contributions of the one partition, by source lane. The key is `run/lane/from-to`. */
function contributionsByLane(ids: readonly string[]): string[][] {
  return Array.from({ length: LANES }, (_, lane) => ids.filter((id) => id.startsWith(`${lane}/`)));
}

function unique(lanes: readonly (readonly string[])[]): string[][] {
  return lanes.map((lane) => [...new Set(lane)]);
}

function rawHop({ topics, acknowledged, doubtful }: Evidence): Hop {
  const fed = acknowledged.map((lane) => lane.map((id) => id ?? GARBAGE));
  const hop = compareHop("fed -> raw", fed, keys(topics.raw));
  return { ...hop, duplicated: Math.max(0, hop.duplicated - doubtful) };
}

/** Every hop of the pipeline. */
export function inspect(evidence: Evidence): Inspection {
  const { topics, predictions, ledgerRanges, ledgerEntries } = evidence;
  const { raw, desensitized } = topics;
  const packs = bundlesOf("packs", topics.packs);
  const results = bundlesOf("predictions", topics.predictions);
  const contributions = (topics.contributions[0] ?? []).map(
    ({ key }) => key?.slice(key.indexOf("/") + 1) ?? "no key",
  );
  const runs = new Set(topics.contributions[0]?.map(({ key }) => key?.split("/")[0]));
  const updates = Math.floor(contributions.length / CONTRIBUTIONS_PER_UPDATE);
  const inUpdates = contributions.slice(0, updates * CONTRIBUTIONS_PER_UPDATE);
  const predicted = Array.from({ length: LANES }, (_, lane) =>
    predictions.filter((prediction) => prediction.lane === lane).map(({ recordId }) => recordId),
  );
  const good = keys(raw).map((lane) => lane.filter((id) => !isGarbage(id)));
  const none: string[][] = [];
  const hops = [
    rawHop(evidence),
    compareHop("raw -> desensitized", good, keys(desensitized)),
    compareHop(
      "raw -> raw.dead",
      refusedOffsets(raw, isGarbage),
      letterOffsets(topics["raw.dead"]),
    ),
    compareHop("desensitized -> examples", ofKind(desensitized, "example"), keys(topics.examples)),
    compareHop(
      "desensitized -> desensitized.dead",
      refusedOffsets(desensitized, (id) => id !== null && kindOf(id) === "odd"),
      letterOffsets(topics["desensitized.dead"]),
    ),
    compareHop("packs (each once)", unique(packs.ids), packs.ids),
    compareHop("packs -> predictions", packs.ids, results.ids),
    compareHop("desensitized -> predictions (records)", ofKind(desensitized, "pack"), predicted),
    compareHop(
      "examples -> contributions",
      expectedRanges(topics.examples),
      contributionsByLane(contributions),
    ),
    compareHop("contributions -> ledger", [inUpdates], [ledgerRanges]),
    compareHop("examples -> examples.dead", none, letterOffsets(topics["examples.dead"])),
    compareHop("packs -> packs.dead", none, letterOffsets(topics["packs.dead"])),
    compareHop(
      "contributions -> contributions.dead",
      none,
      letterOffsets(topics["contributions.dead"]),
    ),
  ];
  const findings = [...packs.findings, ...results.findings];
  const entries = topics.ledger[0]?.length ?? 0;
  if (entries !== ledgerEntries) {
    findings.push(
      `topic ledger holds ${entries} records, "sealstream ledger" shows ${ledgerEntries}`,
    );
  }
  if (runs.size > 1) {
    findings.push(`contributions are of ${runs.size} runs`);
  }
  return { hops, findings };
}
