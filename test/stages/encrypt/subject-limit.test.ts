/** No more than k records of a subject are sealed to train: the first of the log, whatever restarts and retries come. */
import { createHmac, randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { openEnvelope } from "../../../pipeline/crypto/envelope.ts";
import { createEncryptStage } from "../../../pipeline/stages/encrypt/stage.ts";
import type { EncryptState } from "../../../pipeline/stages/encrypt/state.ts";
import { encodeState } from "../../../pipeline/stages/encrypt/state.ts";
import type {
  ChangelogEntry,
  LaneProcessor,
  StepResult,
  StreamRecord,
} from "../../../pipeline/stream/contract.ts";
import { asRecords, makeZones, packingOf, record, smallSpec } from "./fixtures.ts";

const LANE = 1;
const zones = await makeZones("digits");
const spec = smallSpec();
const NAMING = Buffer.alloc(16, 7);

let told: unknown[] = [];

function openLane(k: number | null, change: { split?: number; secret?: Buffer } = {}) {
  const train = change.split ?? 1;
  const secret = change.secret;
  const stage = createEncryptStage({
    spec: {
      ...spec,
      features: { ...spec.features, split: { train, validate: 1 - train, test: 0 } },
      privacy: { ...spec.privacy, recordsPerSubject: k },
    },
    directory: zones.directory(),
    signer: zones.owner.signing("owner-signing"),
    splitSecret:
      secret === undefined
        ? zones.owner.secret("split")
        : { hmac: (message) => createHmac("sha256", secret).update(message).digest() },
    packing: packingOf(async () => []),
    mostPackRecords: 4,
    random: randomBytes,
    onSubjects: (counts) => void told.push(counts),
  });
  return stage.openLane(LANE) as LaneProcessor<EncryptState>;
}

/** One lane as the true one drives it: what is committed comes back at the next start. */
class Changelog {
  state: Uint8Array | null = null;
  entries: ChangelogEntry[] = [];

  async start(k: number | null, change: Parameters<typeof openLane>[1] = {}) {
    const lane = openLane(k, change);
    if (lane.restoreEntry !== undefined) for (const entry of this.entries) lane.restoreEntry(entry);
    return { lane, state: await lane.restore(this.state, 0) };
  }

  commit({ state, entries = [] }: StepResult<EncryptState>): void {
    this.state = encodeState(state);
    this.entries.push(...entries);
  }
}

const of = (subject: string, offset: number, naming: Uint8Array | null = NAMING): StreamRecord => ({
  ...record(offset, { email: subject }),
  headers: naming === null ? {} : { "sealstream-subject": naming },
});
/** Records of these subjects, one letter each, from an offset on. */
const log = (letters: string, from = 0): StreamRecord[] =>
  [...letters].map((letter, index) => of(letter, from + index));
const sealedIds = ({ outputs }: StepResult<EncryptState>): string[] =>
  asRecords(outputs, "examples").map(({ key }) => Buffer.from(key!).toString().slice(5));
const outcomesOf = ({ outcomes }: StepResult<EncryptState>): string[] =>
  outcomes.map(({ offset, kind, reason }) => `${offset} ${kind} ${reason}`);

describe("a subject's records", () => {
  it("are sealed up to the limit; the others are left out, counted and without a letter", async () => {
    const { lane, state } = await new Changelog().start(2);
    const step = await lane.process(log("abaaba"), state, 0);
    expect(sealedIds(step)).toEqual(["0", "1", "2", "4"]);
    expect(outcomesOf(step)).toEqual(["3 drop subject-limit", "5 drop subject-limit"]);
    expect(step.consumedTo).toBe(6);
    expect(step.entries?.map(({ key, value }) => [key.length, ...value])).toEqual([
      [12, 1, 0, 2],
      [12, 1, 0, 2],
    ]);
  });

  it("are told of with each step: how many subjects, and the memory", async () => {
    told = [];
    const { lane, state } = await new Changelog().start(2);
    await lane.process([], state, 0);
    await lane.process(log("abaaba"), state, 0);
    const memoryBytes = 14 * 1024;
    expect(told).toEqual([
      { lane: LANE, subjects: 0, memoryBytes },
      { lane: LANE, subjects: 2, memoryBytes },
    ]);
  });

  it("are counted over steps and restarts; a step that was thrown away counts nothing", async () => {
    const changelog = new Changelog();
    const { lane, state } = await changelog.start(2);
    const first = await lane.process(log("ab"), state, 0);
    changelog.commit(first);
    // Its transaction is aborted: the lane starts again from what is committed.
    const lost = await lane.process(log("aaa", 2), first.state, 0);
    expect(sealedIds(lost)).toEqual(["2"]);
    const again = await changelog.start(2);
    const retried = await again.lane.process(log("aaa", 2), again.state, 0);
    expect(sealedIds(retried)).toEqual(["2"]);
    changelog.commit(retried);
    // The same lane goes on, and so does a fresh one.
    const third = await again.lane.process(log("abb", 5), retried.state, 0);
    expect(sealedIds(third)).toEqual(["6"]);
    const last = await changelog.start(2);
    expect(sealedIds(await last.lane.process(log("abb", 5), last.state, 0))).toEqual(["6"]);
  });

  it("give the same examples however they are cut into steps, with restarts anywhere", async () => {
    const letters = Array.from({ length: 120 }, (_, at) => "abcdefg"[(at * at + at) % 7]).join("");
    const expected = [...letters].flatMap((letter, at) =>
      [...letters.slice(0, at)].filter((one) => one === letter).length < 3 ? [String(at)] : [],
    );
    for (const size of [1, 7, 120]) {
      const changelog = new Changelog();
      const found: string[] = [];
      let { lane, state } = await changelog.start(3);
      for (let from = 0; from < letters.length; from += size) {
        const step = await lane.process(log(letters.slice(from, from + size), from), state, 0);
        changelog.commit(step);
        found.push(...sealedIds(step));
        state = step.state;
        if (from % 3 === 0) ({ lane, state } = await changelog.start(3));
      }
      expect(found).toEqual(expected);
    }
  });

  it("count only if they are to train, and are no affair of packs and refused records", async () => {
    const { lane, state } = await new Changelog().start(1, { split: 1e-12 });
    const step = await lane.process(log("aaaa"), state, 0);
    expect(sealedIds(step)).toHaveLength(4);
    expect(step.entries).toEqual([]);
    expect(step.state.subjects).toBeNull();
    const other = await new Changelog().start(1);
    const bad = { ...of("a", 0), value: Buffer.from("{") };
    const mixed = await other.lane.process([bad, of("a", 1), of("a", 2)], other.state, 0);
    expect(sealedIds(mixed)).toEqual(["1"]);
    expect(outcomesOf(mixed)).toEqual(["0 dead-letter not-json", "2 drop subject-limit"]);
  });

  it("are not counted, and entries not read, where the file has no limit", async () => {
    const lane = openLane(null);
    expect(lane.restoreEntry).toBeUndefined();
    const step = await lane.process(log("aaa"), await lane.restore(null, 0), 0);
    expect(sealedIds(step)).toHaveLength(3);
    expect(step.entries).toEqual([]);
    expect(encodeState(step.state)).toHaveLength(25);
  });

  it("keep their counts while the limit is out of the file, or another", async () => {
    const changelog = new Changelog();
    const first = await changelog.start(2);
    changelog.commit(await first.lane.process(log("aab"), first.state, 0));
    const free = await changelog.start(null);
    changelog.commit(await free.lane.process(log("ab", 3), free.state, 0));
    const wider = await changelog.start(3);
    const step = await wider.lane.process(log("aabbb", 5), wider.state, 0);
    expect(sealedIds(step)).toEqual(["5", "7", "8"]);
    changelog.commit(step);
    const narrower = await changelog.start(1);
    expect(sealedIds(await narrower.lane.process(log("abc", 10), narrower.state, 0))).toEqual([
      "12",
    ]);
  });
});

describe("the bound", () => {
  it("is in the header and the authenticated context of an example that may train, and of no other", async () => {
    const open = async (k: number | null, split: number, attributes: Record<string, string>) => {
      const { lane, state } = await new Changelog().start(k, { split });
      const { outputs } = await lane.process(log("a"), state, 0);
      const directory = zones.directory([zones.training.unwrap("training-unwrap")]);
      for (const { key, value } of asRecords(outputs, "keys")) directory.apply(key, value);
      const [example] = asRecords(outputs, "examples");
      const { status } = openEnvelope({
        envelope: example!.value!,
        context: {
          ...{ pipeline: "digits", topic: "examples", lane: LANE, recordId: example!.key! },
          ...{ schemaVersion: 1, attributes },
        },
        findKey: (kid) => directory.findDataKey(kid, "examples"),
      });
      const header = example!.headers["sealstream-records-per-subject"];
      return [status, header === undefined ? null : Buffer.from(header).toString()];
    };
    expect(await open(5, 1, { split: "train", recordsPerSubject: "5" })).toEqual(["ok", "5"]);
    expect(await open(5, 1, { split: "train", recordsPerSubject: "6" })).toEqual(["refused", "5"]);
    expect(await open(null, 1, { split: "train" })).toEqual(["ok", null]);
    expect(await open(5, 1e-12, { split: "validate" })).toEqual(["ok", null]);
  });
});

describe("a record whose subject is not proven", () => {
  it("is a dead letter: it says nothing of its lane, or its subject has another name than those counted", async () => {
    const changelog = new Changelog();
    const { lane, state } = await changelog.start(2);
    const records = [
      of("a", 0, null),
      of("a", 1, Buffer.alloc(15)),
      of("a", 2),
      of("a", 3, Buffer.alloc(16)),
    ];
    const step = await lane.process(records, state, 0);
    expect(sealedIds(step)).toEqual(["2"]);
    expect(outcomesOf(step)).toEqual(
      [0, 1, 3].map((offset) => `${offset} dead-letter subject-unproven`),
    );
    changelog.commit(step);
    const again = await changelog.start(2);
    const next = await again.lane.process(
      [of("b", 4, Buffer.alloc(16)), of("b", 5)],
      again.state,
      0,
    );
    expect(sealedIds(next)).toEqual(["5"]);
  });
});

describe("entries that do not add up", () => {
  const filled = async () => {
    const changelog = new Changelog();
    let { lane, state } = await changelog.start(3);
    for (const [from, letters] of [
      [0, "ab"],
      [2, "ab"],
    ] as const) {
      const step = await lane.process(log(letters, from), state, 0);
      changelog.commit(step);
      state = step.state;
    }
    ({ lane, state } = await changelog.start(3));
    expect(changelog.entries).toHaveLength(4);
    return changelog;
  };
  const stops = { code: "state-mismatch", message: expect.stringMatching(/entries were lost/) };

  it.each<[string, (changelog: Changelog) => void]>([
    ["lost", ({ entries }) => void entries.splice(0)],
    [
      "lost of one subject",
      (changelog) => {
        const [lost] = changelog.entries;
        changelog.entries = changelog.entries.filter(
          ({ key }) => Buffer.compare(key, lost!.key) !== 0,
        );
      },
    ],
    ["an older one in place of a newer", ({ entries }) => void entries.push(entries[0]!)],
    [
      "one too many",
      ({ entries }) => void entries.push({ key: randomBytes(12), value: Uint8Array.of(1, 0, 1) }),
    ],
    [
      "of another shape",
      ({ entries }) => {
        entries[3] = { ...entries[3]!, value: Uint8Array.of(2, 0, 2) };
      },
    ],
  ])("stop the lane: %s", async (_, spoil) => {
    const changelog = await filled();
    spoil(changelog);
    await expect(changelog.start(3)).rejects.toMatchObject(stops);
    // Nobody asks where nothing is counted.
    await expect(changelog.start(null)).resolves.toBeDefined();
  });

  it("may come twice, as the log holds them before compaction", async () => {
    const changelog = await filled();
    changelog.entries.splice(0, 2);
    await expect(changelog.start(3)).resolves.toBeDefined();
  });
});

it("a count is kept under a hash of the owner's key alone: the name is not in it", async () => {
  const keyOf = async (secret: Buffer) => {
    const { lane, state } = await new Changelog().start(1, { secret });
    const { entries } = await lane.process(log("a"), state, 0);
    return Buffer.from(entries![0]!.key).toString("hex");
  };
  const secret = Buffer.alloc(32, 1);
  const label = Buffer.from("sealstream/subject-count/v1|a");
  const expected = createHmac("sha256", secret).update(label).digest().subarray(0, 12);
  expect(await keyOf(secret)).toBe(expected.toString("hex"));
  expect(await keyOf(Buffer.alloc(32, 2))).not.toBe(expected.toString("hex"));
});
