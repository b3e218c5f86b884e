/** A replay whose letters expire while it works: they are named, and those behind them go back all the same. */
import { beforeEach, expect, it } from "vitest";
import { createDeadLetterSealer } from "../../pipeline/commands/dead-letter-sealer.ts";
import {
  type JudgedLetter,
  replayStage,
} from "../../pipeline/commands/dead-letters/replay-stage.ts";
import type { KeyDirectory } from "../../pipeline/crypto/directory.ts";
import { createRecipient, createUnwrapKey } from "../../pipeline/crypto/wrap/key-wrap.ts";
import type { StreamRecord } from "../../pipeline/stream/contract.ts";
import { deadLetterRecord } from "../../pipeline/stream/dead-letter.ts";
import type { KafkaClient, LaneProducer, ProducerRecord } from "../../pipeline/stream/port.ts";
import { fakeClient, idleProducer } from "../stream/fake-client.ts";

const LETTERS = 4;
const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);
const ownerKey = createUnwrapKey("owner-dead-letter", Buffer.alloc(32, 7));
const recipient = createRecipient("owner-dead-letter", ownerKey.publicKey);
const seal = createDeadLetterSealer(
  // Because a sealer asks its directory for the recipient and nothing else.
  { recipient: () => recipient } as unknown as KeyDirectory,
  "desensitize",
);

/** A partition's log, and what retention has left of it. */
interface Log {
  earliest: number;
  readonly records: readonly StreamRecord[];
}

/** By topic and partition; any other is empty. */
let logs: Map<string, Log>;
/** The partition of `raw` that the rules say is a record's, by its id; null: any. */
let belongsTo: (id: string) => number | null;
/** Called when a replay begins to look downstream. */
let whenLookingDownstream = (): void => undefined;
/** Committed transactions: keys of the records put back, and the group's offset. */
let committed: { readonly place: string; readonly keys: string[]; readonly offset: number }[];

/** Partitions of the receipts. */
let receipts: number[];

function stored({ key, value, headers = {} }: ProducerRecord, offset: number): StreamRecord {
  return { offset, timestampMs: 5, key, value, headers };
}

function fill(partition: number): void {
  const records = Array.from({ length: LETTERS }, (_, offset) =>
    stored({ key: bytes(`${partition}-${offset}`), value: bytes("{}") }, offset),
  );
  const letters = records.map((record, offset) =>
    stored(
      deadLetterRecord({
        ...{ pipeline: "p", stage: "desensitize", topic: "p.raw", partition },
        ...{ record, reason: "schema", seal },
      }),
      offset,
    ),
  );
  logs.set(`p.raw/${partition}`, { earliest: 0, records });
  logs.set(`p.raw.dead/${partition}`, { earliest: 0, records: letters });
}

function expireBefore(offset: number, partition = 0): void {
  const log = logs.get(`p.raw.dead/${partition}`);
  if (log !== undefined) log.earliest = offset;
}

const logOf = (topic: string, partition: number): Log =>
  logs.get(`${topic}/${partition}`) ?? { earliest: 0, records: [] };

const client: KafkaClient = fakeClient({
  async offsets(topic, partition) {
    if (topic === "p.examples") whenLookingDownstream();
    const { earliest, records } = logOf(topic, partition);
    return { earliest, latest: records.length };
  },
  async createReader(topic, partition, offset) {
    let at = offset;
    return {
      async fetch() {
        const { earliest, records } = logOf(topic, partition);
        if (at < earliest) throw new Error("gone");
        // One record a fetch.
        const found = records.slice(at, at + 1);
        at += found.length;
        const { length } = records;
        return { records: found, nextOffset: at, lastStableOffset: length, highWatermark: length };
      },
      position: () => at,
      close: async () => undefined,
    };
  },
});

/** Keeps what was committed. */
function recorder(): LaneProducer {
  let keys: string[] = [];
  let places: string[] = [];
  let offset = -1;
  return {
    ...idleProducer,
    async send(topic, partition, records) {
      if (topic === "p.raw.dead") receipts.push(partition);
      if (topic !== "p.raw") return;
      places.push(`${topic}/${partition}`);
      keys.push(...records.map(({ key }) => Buffer.from(key ?? []).toString()));
    },
    async sendOffset(_group, _topic, _partition, next) {
      offset = next;
    },
    async commit() {
      committed.push({ place: places.join(), keys, offset });
      keys = [];
      places = [];
    },
  };
}

/** Replays every letter: what became of each. */
async function replay(partitions = 1): Promise<string[]> {
  const verdicts: JudgedLetter[] = [];
  await replayStage({
    client,
    pipeline: "p",
    partitions,
    patienceMs: 1_000,
    signal: new AbortController().signal,
    stage: "desensitize",
    selection: { partition: null, offset: null, reason: null },
    maxAttempts: 3,
    unverified: false,
    producer: recorder(),
    guard: { protect: (payload) => payload, open: (value) => value },
    ownerKeys: [ownerKey],
    judge: {
      judge: async (records) =>
        records.map(({ key }) => {
          const id = key ?? bytes("");
          return { status: "passes", id, partition: belongsTo(Buffer.from(id).toString()) };
        }),
      close: async () => undefined,
    },
    replayedIds: new Set(),
    onVerdict: (letter) => verdicts.push(letter),
  });
  return verdicts
    .sort((a, b) => a.partition - b.partition || a.offset - b.offset)
    .map(({ partition, offset, verdict }) => `${partition}/${offset} ${verdict}`);
}

beforeEach(() => {
  logs = new Map();
  committed = [];
  receipts = [];
  whenLookingDownstream = () => undefined;
  belongsTo = () => null;
  fill(0);
});

it("puts all letters back when none expires", async () => {
  expect(await replay()).toEqual(["0", "1", "2", "3"].map((offset) => `0/${offset} replayed`));
  expect(committed).toEqual([
    { place: "p.raw/0", keys: ["0-0", "0-1", "0-2", "0-3"], offset: LETTERS },
  ]);
});

it("names the letters that expired meanwhile, and puts back those behind them", async () => {
  whenLookingDownstream = () => expireBefore(2);
  expect(await replay()).toEqual([
    "0/0 letter-expired",
    "0/1 letter-expired",
    "0/2 replayed",
    "0/3 replayed",
  ]);
  expect(committed).toEqual([{ place: "p.raw/0", keys: ["0-2", "0-3"], offset: LETTERS }]);
});

it("goes on with the next partition when all letters of one expired", async () => {
  fill(1);
  whenLookingDownstream = () => expireBefore(LETTERS);
  expect(await replay(2)).toEqual([
    ...["0", "1", "2", "3"].map((offset) => `0/${offset} letter-expired`),
    ...["0", "1", "2", "3"].map((offset) => `1/${offset} replayed`),
  ]);
  expect(committed.map(({ place }) => place)).toEqual(["p.raw/1"]);
});

it("puts a record back into its subject's partition, and the receipt beside its letter", async () => {
  belongsTo = (id) => (id === "0-1" || id === "0-3" ? 2 : 0);
  expect(await replay(3)).toEqual(["0", "1", "2", "3"].map((offset) => `0/${offset} replayed`));
  expect(committed).toEqual([
    { place: "p.raw/0,p.raw/2", keys: ["0-0", "0-2", "0-1", "0-3"], offset: LETTERS },
  ]);
  expect(receipts).toEqual([0]);
});
