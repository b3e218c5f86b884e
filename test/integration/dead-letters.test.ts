/**
 * Dead letters on the real broker with the real stages: listed without a key, shown to the key's owner alone, and put
 * back exactly once through kills, rival replays, copied and edited letters.
 */
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import type { RunningStages } from "../../examples/digits/demo/program.ts";
import { createDeadLetterSealer } from "../../pipeline/commands/dead-letter-sealer.ts";
import type { KeyDirectory } from "../../pipeline/crypto/directory.ts";
import { openKeyStore } from "../../pipeline/crypto/key-store.ts";
import { createRecipient } from "../../pipeline/crypto/wrap/key-wrap.ts";
import { deadLetterRecord } from "../../pipeline/stream/dead-letter.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { topicName } from "../../schemas/topics.ts";
import { createWorld, type DeadLetterWorld, type Replay } from "../lib/dead-letters.ts";
import { connect, readAll, until } from "../lib/kafka.ts";
import { digits, makePipeline, type TestPipeline, untilStages } from "../lib/pipeline.ts";

const LANES = 2;
/** Five transactions of 500 letters and some. */
const REFUSED = 2_600;
const MARKER = "MARKER-hush-hush";
const text = new TextDecoder();
const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);

let client: KafkaClient;
let pipeline: TestPipeline;
let world: DeadLetterWorld;
let running: RunningStages[] = [];

function start(): void {
  running = [pipeline.start(["--stage", "desensitize"]), pipeline.start(["--stage", "encrypt"])];
}

async function stop(): Promise<void> {
  await Promise.all(running.map((stages) => stages.stop()));
  running = [];
}

async function replay(...args: string[]): Promise<Replay> {
  const done = await world.replay(...args);
  expect(done.printed).not.toContain(MARKER);
  return done;
}

const [form] = digits()
  .filter(({ form: one }) => one.digit !== undefined)
  .map(({ form: one }) => one);
const refusedForm = (index: number): string =>
  JSON.stringify({ ...form, formId: `refused-${index}`, surprise: `${MARKER}-${index}` });
const refusedIds = Array.from({ length: REFUSED }, (_, index) => `refused-${index}`);

beforeAll(async () => {
  client = await connect(inject("brokers"));
  pipeline = await makePipeline(
    inject("brokers"),
    (file) => `${file.replace("partitions: 4", "partitions: 2")}\ndeadLetters: { maxShare: 1 }\n`,
  );
  world = createWorld(client, pipeline, { lanes: LANES, brokers: inject("brokers") });
  start();
  const raw = topicName(pipeline.name, "raw");
  for (const partition of [0, 1]) {
    await world.send(
      raw,
      refusedIds.flatMap((_, index) =>
        index % LANES === partition
          ? [
              {
                key: bytes(`${MARKER} key`),
                value: bytes(refusedForm(index)),
                headers: { trace: Uint8Array.of(0x1b, 0xff) },
              },
            ]
          : [],
      ),
      partition,
    );
  }
  await world.send(raw, [{ key: null, value: bytes(`\u001b[2J${MARKER} \u202e no json`) }], 0);
  const letters = () => world.count(`${raw}.dead`);
  await untilStages(running[0]!, "all are refused", async () => (await letters()) === REFUSED + 1);
});

afterAll(async () => {
  await stop();
  pipeline?.remove();
  await client?.close();
});

describe("dead letters", () => {
  it("are listed without a key, and nothing of a record is", async () => {
    const letters = await world.list();
    expect(letters.length).toBe(REFUSED + 1);
    expect(letters.filter(({ reason }) => reason === "unknown-field").length).toBe(REFUSED);
    expect(letters.filter(({ reason }) => reason === "not-json").length).toBe(1);
    const offsets = letters
      .filter(({ partition }) => partition === 0)
      .map(({ source }) => source!.offset);
    expect(offsets).toEqual(Array.from({ length: REFUSED / LANES + 1 }, (_, index) => index));
    expect(JSON.stringify(letters)).not.toContain(MARKER);

    const { out, err } = await world.deadLetters("list", "--limit", "3");
    expect(out.trimEnd().split("\n").length).toBe(4);
    expect(err).toMatch(/2600 {2}desensitize unknown-field/);
    expect(out + err).not.toContain(MARKER);
  });

  it("are shown to who holds the zone's key, byte for byte, and to nobody else", async () => {
    const [first] = await world.list("--limit", "1");
    const { code, out } = await world.deadLetters("show", first!.letter);
    expect(code).toBe(0);
    const record = JSON.parse(out) as { key: unknown; value: { text: string }; headers: unknown };
    expect(record.key).toEqual({ text: `${MARKER} key` });
    expect(record.value.text).toBe(refusedForm(0));
    expect(record.headers).toEqual([
      { name: "trace", value: { base64: Buffer.of(0x1b, 0xff).toString("base64") } },
    ]);
    const hostile = (await world.list()).find(({ reason }) => reason === "not-json");
    const terminal = await world.deadLetters("show", hostile!.letter);
    expect(terminal.out.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    expect((JSON.parse(terminal.out) as { value: { text: string } }).value.text).toBe(
      `\u001b[2J${MARKER} \u202e no json`,
    );
    const empty = mkdtempSync(join(tmpdir(), "sealstream-nokeys-"));
    const refused = await world.deadLetters("show", first!.letter, "--keys", empty);
    expect(refused).toMatchObject({ code: 1, out: "" });
    expect(refused.err).toMatch(/sealed to the owner zone/);
  });

  it("that were edited or moved do not open, are told apart, and never go back", async () => {
    const topic = `${topicName(pipeline.name, "raw")}.dead`;
    const [lane] = await readAll(client, topic, LANES);
    const letter = lane![0]!;
    const moved = { ...letter.headers, "__connect.errors.offset": bytes("7") };
    const flipped = Uint8Array.from(letter.value!);
    flipped[flipped.length - 1]! ^= 1;
    const junk = { "__connect.errors.exception.class.name": bytes(`\u001b[2J${MARKER}`) };
    await world.send(
      topic,
      [
        { key: null, value: letter.value, headers: moved },
        { key: null, value: flipped, headers: letter.headers },
        { key: null, value: bytes(MARKER), headers: junk },
      ],
      0,
    );
    const last = (await world.list("--stage", "desensitize"))
      .filter(({ partition }) => partition === 0)
      .slice(-3);
    expect(last.map(({ reason }) => reason)).toEqual([
      "unknown-field",
      "unknown-field",
      "(malformed)",
    ]);
    for (const { letter: name } of last) {
      const shown = await world.deadLetters("show", name);
      expect(shown).toMatchObject({ code: 1, out: "" });
      expect(shown.err).toMatch(/does not open/);
    }
  });

  it("stay where they are while the rules refuse them", async () => {
    const { code, verdicts } = await replay("--stage", "desensitize", "--all", "--dry-run");
    expect(code).toBe(1);
    expect([...verdicts]).toEqual(
      expect.arrayContaining([
        ["still-refused", REFUSED + 1],
        ["edited", 2],
        ["malformed", 1],
      ]),
    );
    expect((await world.putBack("raw")).size).toBe(0);
  });

  it("go back once each after the file was mended, through kill -9", async () => {
    // One record was mended by its producer meanwhile: it came through on its own.
    const own = JSON.stringify({ ...form, formId: "refused-5" });
    await world.send(topicName(pipeline.name, "raw"), [{ key: null, value: bytes(own) }], 0);
    await untilStages(running[1]!, "it came through", async () =>
      (await world.keysOf("examples")).has("refused-5"),
    );
    await stop();
    const schemaFile = join(pipeline.folder, "form.schema.json");
    const schema = JSON.parse(readFileSync(schemaFile, "utf8")) as { properties: object };
    schema.properties = { ...schema.properties, surprise: { type: "string" } };
    writeFileSync(schemaFile, JSON.stringify(schema));
    writeFileSync(
      pipeline.file,
      readFileSync(pipeline.file, "utf8").replace(/^ {2}subject: email$/m, ""),
    );
    start();

    let kills = 0;
    for (let attempt = 0; attempt < 4; attempt += 1) {
      kills += (await world.replayAndKill(attempt * 4, "--stage", "desensitize", "--all")) ? 1 : 0;
    }
    process.stdout.write(
      `replay was killed ${kills} times after ${(await world.putBack("raw")).size} records\n`,
    );
    expect(kills).toBeGreaterThan(1);
    const { verdicts, code } = await replay("--stage", "desensitize", "--all");
    expect(code).toBe(1);
    expect(verdicts.get("came-through")).toBe(1);
    expect(verdicts.get("still-refused")).toBe(1);

    const expected = new Map(refusedIds.filter((id) => id !== "refused-5").map((id) => [id, 1]));
    expect(await world.putBack("raw")).toEqual(expected);
    await untilStages(
      running[1]!,
      "all are sealed",
      async () => (await world.keysOf("examples")).size === REFUSED,
    );
    expect(await world.keysOf("desensitized")).toEqual(new Map([...expected, ["refused-5", 1]]));
    expect(await world.keysOf("examples")).toEqual(new Map([...expected, ["refused-5", 1]]));
    const back = (await readAll(client, topicName(pipeline.name, "raw"), LANES))[1]!.filter(
      ({ headers }) => headers["sealstream-replays"] !== undefined,
    );
    // In order, with key and headers as they were.
    expect(back.map(({ value }) => text.decode(value!))).toEqual(
      refusedIds.flatMap((id, index) =>
        index % 2 === 1 && id !== "refused-5" ? [refusedForm(index)] : [],
      ),
    );
    expect(text.decode(back[0]!.key!)).toBe(`${MARKER} key`);
    expect((await world.list()).filter(({ replayed }) => replayed).length).toBe(REFUSED - 1);
  });

  it("never go back twice, not even as copies", async () => {
    const topic = `${topicName(pipeline.name, "raw")}.dead`;
    const [lane] = await readAll(client, topic, LANES);
    const { value, headers } = lane![1]!;
    await world.send(topic, [{ key: null, value, headers }], 0);
    // Whoever knows the zone's public key can seal a letter: it is not what lies at the place it names.
    const keys = await openKeyStore({
      folder: join(pipeline.keys, "dead-letters"),
      holder: "dead-letters",
    });
    const recipient = createRecipient(
      "owner-dead-letter",
      keys.unwrap("owner-dead-letter").publicKey,
    );
    // Because a sealer asks its directory for the recipient and nothing else.
    const directory = { recipient: () => recipient } as unknown as KeyDirectory;
    const forged = deadLetterRecord({
      pipeline: pipeline.name,
      stage: "desensitize",
      topic: topicName(pipeline.name, "raw"),
      partition: 0,
      reason: "schema",
      record: {
        // Of the record that came through in its mended form: it was never replayed.
        offset: REFUSED / LANES + 1,
        timestampMs: 0,
        key: null,
        value: bytes(JSON.stringify({ ...form, formId: "forged" })),
        headers: {},
      },
      seal: createDeadLetterSealer(directory, "desensitize"),
    });
    await world.send(topic, [forged], 0);
    const before = await world.putBack("raw");
    const { verdicts } = await replay("--stage", "desensitize", "--all");
    expect(verdicts.get("already-replayed")).toBe(REFUSED);
    expect(verdicts.has("replayed")).toBe(false);
    expect(verdicts.get("not-the-source")).toBe(1);
    expect(await world.putBack("raw")).toEqual(before);
  });

  it("of encrypt go back to desensitized, once each under rival replays, as far as they were chosen", async () => {
    const topic = topicName(pipeline.name, "desensitized");
    const { formId: _, ...rest } = form!;
    const value = (id: string, digit: number) =>
      bytes(JSON.stringify({ formId: id, digit, pixels: rest.pixels }));
    const ids = Array.from({ length: 1_200 }, (__, index) => `late-${index}`);
    await stop();
    // Written while encrypt wants a subject, that is before the file was mended.
    const mended = readFileSync(pipeline.file, "utf8");
    writeFileSync(
      pipeline.file,
      mended.replace(/^ {2}id: formId$/m, "  id: formId\n  subject: email"),
    );
    start();
    for (const partition of [0, 1]) {
      await world.send(
        topic,
        ids.flatMap((id, index) =>
          index % 2 === partition ? [{ key: bytes(id), value: value(id, 3) }] : [],
        ),
        partition,
      );
    }
    await world.send(topic, [{ key: bytes("label"), value: value("label", 77) }], 0);
    const letters = () => world.count(`${topic}.dead`);
    await untilStages(running[1]!, "all are refused", async () => (await letters()) === 1_201);
    await stop();
    writeFileSync(pipeline.file, mended);
    start();

    const one = await replay("--stage", "encrypt", "--partition", "1", "--offset", "3");
    expect(one).toMatchObject({ code: 0, all: [{ letter: "encrypt/1/3", verdict: "replayed" }] });
    const group = `${pipeline.name}.encrypt.replay`;
    // What was not chosen stays in front of the group's offset.
    expect(await client.committedOffset(group, `${topic}.dead`, 1)).toBe(0);
    const rivals = await Promise.all([
      replay("--stage", "encrypt", "--reason", "missing-field"),
      replay("--stage", "encrypt", "--all"),
    ]);
    for (const { code, printed } of rivals) {
      if (code !== 0) expect(printed).toMatch(/Another replay|still-refused/);
    }
    const last = await replay("--stage", "encrypt", "--reason", "missing-field");
    expect(last.code).toBe(0);
    expect(await world.putBack("desensitized")).toEqual(new Map(ids.map((id) => [id, 1])));
    await until(
      "all are sealed",
      async () => (await world.keysOf("examples")).size === REFUSED + 1_200,
    );
    const sealed = await world.keysOf("examples");
    expect(ids.map((id) => sealed.get(id))).toEqual(ids.map(() => 1));
    const { latest } = await client.offsets(`${topic}.dead`, 1);
    expect(await client.committedOffset(group, `${topic}.dead`, 1)).toBeGreaterThan(599);
    expect(latest).toBeGreaterThan(600);
  });

  it("of other zones stay, and the record to produce again is named where it is public", async () => {
    const input = topicName(pipeline.name, "examples");
    const [lane] = await readAll(client, input, LANES);
    const example = lane![0]!;
    const letter = deadLetterRecord({
      pipeline: pipeline.name,
      stage: "train",
      topic: input,
      partition: 0,
      record: example,
      reason: "envelope-refused",
      seal: () => bytes("sealed"),
    });
    await world.send(`${input}.dead`, [letter], 0);
    const { code, all } = await replay("--stage", "train", "--all");
    expect(code).toBe(1);
    expect(all).toEqual([
      {
        letter: "train/0/0",
        verdict: "other-zone",
        reason: null,
        recordId: { text: text.decode(example.key!) },
      },
    ]);
  });

  it("go back only as far as somebody can tell that they never came through, and not for ever", async () => {
    const [raw, dead] = ["raw", "raw.dead"].map((role) => `${pipeline.name}.${role}`);
    const value = bytes(JSON.stringify({ ...form, formId: "third", third: MARKER }));
    const newest = async () => (await world.list("--stage", "desensitize")).at(-1)!;
    const before = await newest();
    await world.send(raw!, [{ key: null, value }], 1);
    await untilStages(
      running[0]!,
      "it is refused",
      async () => (await newest()).offset > before.offset,
    );
    const letter = await newest();
    const args = ["--stage", "desensitize", "--partition", "1", "--offset", String(letter.offset)];
    const schemaFile = join(pipeline.folder, "form.schema.json");
    // The running stage keeps its old schema, and will refuse the record again.
    writeFileSync(
      schemaFile,
      readFileSync(schemaFile, "utf8").replace(
        /"properties":\s*\{/,
        '$&"third":{"type":"string"},',
      ),
    );
    await world.expire(raw!, 1);
    const verdictOf = async (...more: string[]) => (await replay(...args, ...more)).all[0]?.verdict;
    expect(await verdictOf()).toBe("source-expired");
    expect(await verdictOf("--unverified")).toBe("replayed");
    await untilStages(
      running[0]!,
      "it is refused again",
      async () => (await newest()).offset > letter.offset + 1,
    );
    const again = await newest();
    expect(again).toMatchObject({ reason: "unknown-field", attempts: 1, replayed: false });
    args[5] = String(again.offset);
    expect(await verdictOf("--max-attempts", "1")).toBe("too-many-attempts");
    const desensitized = topicName(pipeline.name, "desensitized");
    await world.send(desensitized, [{ key: bytes("old"), value: null }], 0);
    await world.expire(desensitized, 0);
    expect(await verdictOf()).toBe("evidence-expired");
    expect(dead).toBe(again.topic);
  });
});
