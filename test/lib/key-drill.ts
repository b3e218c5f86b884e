/**
 * What the drills on keys share: records that flow while a drill is going on, the `keys` command in this process (its own
 * tests run it as a program), and what stands in the topics afterwards. Must not know any one drill.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { readKeys } from "../../pipeline/client/keys.ts";
import { keys as keysCommand } from "../../pipeline/commands/keys.ts";
import type { Options } from "../../pipeline/commands/options.ts";
import { type Bundle, readBundles } from "../../pipeline/crypto/bundle.ts";
import { verify1 } from "../../pipeline/crypto/cose-sign1.ts";
import { createKeyDirectory, type KeyListing } from "../../pipeline/crypto/directory.ts";
import { keysContext } from "../../pipeline/crypto/key-entries.ts";
import { hex } from "../../pipeline/crypto/key-handles.ts";
import { type DataKeyPayload, decodePayload } from "../../pipeline/crypto/key-payload.ts";
import type { StreamRecord } from "../../pipeline/stream/contract.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { deadTopicName, STAGE_INPUT, STAGES, topicName } from "../../schemas/topics.ts";
import { readAll } from "./kafka.ts";
import { digits, type TestPipeline } from "./pipeline.ts";

/** What a call of `keys` printed and told. */
export interface Said {
  readonly out: string;
  readonly told: string;
}

/** Runs `sealstream keys ACTION FILE`. @throws what the command throws */
export async function runKeys(
  { file, program }: Pick<TestPipeline, "file" | "program">,
  action: string,
  what?: string,
  options: Options = {},
): Promise<Said> {
  const out: string[] = [];
  const told: string[] = [];
  await keysCommand(
    {
      environment: { ...program.environment, SEALSTREAM_LOG: "error" },
      clock: Date.now,
      print: (line) => out.push(line),
      tell: (line) => told.push(line),
      signal: new AbortController().signal,
      inputEnds: () => new AbortController().signal,
      isTerminal: false,
    },
    ...[action, file, what, options],
  );
  return { out: out.join("\n"), told: told.join("\n") };
}

export interface ListedKey {
  readonly zone: string;
  readonly purpose: string;
  readonly generation: number;
  readonly state: string;
  readonly kid: string;
  readonly here: boolean;
}

/** `keys list --json`. */
export async function listKeys(pipeline: TestPipeline) {
  const { out } = await runKeys(pipeline, "list", undefined, { json: true });
  return JSON.parse(out) as { readonly keys: readonly ListedKey[]; readonly lost: string[] };
}

/** The key of a purpose that counts now. */
export function currentKey(keys: readonly ListedKey[], purpose: string): ListedKey {
  const found = keys.find((one) => one.purpose === purpose && one.state === "current");
  if (found === undefined) throw new Error(`there is no current ${purpose}`);
  return found;
}

/** How many records a lane gets at each beat. */
export interface Beat {
  readonly labelled: number;
  readonly unlabelled: number;
}

export interface Feed {
  /** Written so far, by lane. */
  readonly labelled: readonly number[];
  /** Ids of all unlabelled forms so far. */
  readonly unlabelled: ReadonlySet<string>;
  /** Writes once more, beside the beat. */
  write(lane: number, beat: Beat): Promise<void>;
  /** Ends the beat: `write` alone writes from then on. */
  stop(): Promise<void>;
  close(): Promise<void>;
}

/** Writes forms into `raw`, every one a new one, at a steady beat. @param beats by lane */
export async function startFeed(
  client: KafkaClient,
  { name }: TestPipeline,
  { beats, everyMs }: { readonly beats: readonly Beat[]; readonly everyMs: number },
): Promise<Feed> {
  const all = digits();
  const withDigit = all.filter(({ form }) => form.digit !== undefined);
  const without = all.filter(({ form }) => form.digit === undefined);
  const labelled = beats.map(() => 0);
  const unlabelled = new Set<string>();
  let made = 0;
  const forms = (from: typeof all, count: number) =>
    Array.from({ length: count }, () => {
      made += 1;
      const { form } = from[made % from.length] ?? { form: {} };
      return { ...form, formId: `form-${made}` };
    });
  const producer = await client.createPlainProducer();
  const write = async (lane: number, beat: Beat): Promise<void> => {
    const asked = forms(without, beat.unlabelled);
    const batch = [...forms(withDigit, beat.labelled), ...asked];
    if (batch.length === 0) return;
    labelled[lane] = (labelled[lane] ?? 0) + beat.labelled;
    for (const { formId } of asked) unlabelled.add(formId);
    const bytes = (value: string) => new TextEncoder().encode(value);
    const records = batch.map((form) => {
      return { key: bytes(form.formId), value: bytes(JSON.stringify(form)), partition: lane };
    });
    await producer.send(topicName(name, "raw"), records);
  };
  let beating = true;
  const beat = (async () => {
    while (beating) {
      const next = performance.now() + everyMs;
      for (const [lane, one] of beats.entries()) await write(lane, one);
      await sleep(Math.max(0, next - performance.now()));
    }
  })();
  // Whoever stops it hears of it.
  beat.catch(() => undefined);
  const stop = async () => {
    beating = false;
    await beat;
  };
  return {
    labelled,
    unlabelled,
    write,
    stop,
    async close() {
      await stop().finally(() => producer.close());
    },
  };
}

/** A data key as it was announced once; later entries wrap it anew. */
export interface AnnouncedOnce {
  readonly payload: DataKeyPayload;
  readonly kid: string;
  /** Hex kids of those that can open it by this entry. */
  readonly for: readonly string[];
  readonly signer: string;
}

export interface KeysTopic {
  readonly listing: KeyListing;
  /** Every data-key entry that proves itself, in the order of the topic. */
  readonly dataKeys: readonly AnnouncedOnce[];
  readonly findSigner: (kid: Uint8Array) => { readonly publicKey: Uint8Array } | null;
}

/** All that was ever said in `keys`: its log is too young to have been compacted. */
export async function readKeysTopic(
  client: KafkaClient,
  pipeline: TestPipeline,
): Promise<KeysTopic> {
  const { zones, revoked } = pipeline.spec();
  if (zones === null) throw new Error("no zone is pinned");
  const { name } = pipeline;
  const directory = createKeyDirectory({
    ...{ pipeline: name, zones, revoked, blobPurposes: [], keepsAllDataKeys: true },
  });
  await readKeys({ client, pipeline: name, directory });
  const listing = directory.list();
  // Revoked ones too: this looks at what was said, not at what is believed.
  const findSigner = (kid: Uint8Array) =>
    listing.signers.find((one) => one.kid === hex(kid)) ?? null;
  const [entries = []] = await readAll(client, topicName(name, "keys"), 1);
  const dataKeys = entries.flatMap(({ key, value }): AnnouncedOnce[] => {
    if (
      value === null ||
      !Buffer.from(key ?? [])
        .toString("latin1")
        .startsWith("data-key/")
    ) {
      return [];
    }
    const verified = verify1({ message: value, context: keysContext(name), findSigner });
    const payload = verified.status === "ok" ? decodePayload(verified.payload) : null;
    if (verified.status !== "ok" || payload?.type !== "data-key") return [];
    const recipients = payload.recipients.map((one) => hex(one.kid));
    return [{ payload, kid: hex(payload.kid), for: recipients, signer: hex(verified.kid) }];
  });
  return { listing, dataKeys, findSigner };
}

/** Complete bundles of a lanes topic, signed by anybody who was ever a signer, lane by lane in order. */
export async function readAllBundles(
  client: KafkaClient,
  pipeline: TestPipeline,
  { role, findSigner }: { role: "packs" | "predictions"; findSigner: KeysTopic["findSigner"] },
): Promise<Bundle[][]> {
  const { partitions } = pipeline.spec().kafka;
  const lanes = await readAll(client, topicName(pipeline.name, role), partitions);
  return lanes.map((records, lane) => {
    const context = `sealstream/${role}/v1|${pipeline.name}|${lane}`;
    const { bundles, refused } = readBundles(records, {
      ...{ context, findSigner, maxBundleBytes: 64 * 1024 * 1024 },
    });
    if (refused.length > 0) throw new Error(`${refused.length} records of ${role} are no bundle`);
    return [...bundles];
  });
}

/** Dead letters of every stage, by input topic; only topics that have some. */
export async function deadLetters(
  client: KafkaClient,
  pipeline: TestPipeline,
): Promise<Record<string, number>> {
  const { partitions } = pipeline.spec().kafka;
  const found: Record<string, number> = {};
  for (const stage of STAGES) {
    const role = STAGE_INPUT[stage];
    const count = role === "contributions" ? 1 : partitions;
    const letters = (await readAll(client, deadTopicName(pipeline.name, role), count)).flat();
    if (letters.length > 0) found[role] = letters.length;
  }
  return found;
}

/** Longest time, in ms, in which a lane got nothing, by the times of its records. */
export function longestGap(records: readonly Pick<StreamRecord, "timestampMs">[]): number {
  const times = records.map(({ timestampMs }) => timestampMs);
  return times.reduce((most, time, index) => Math.max(most, time - (times[index - 1] ?? time)), 0);
}

/** Hex kid of the data key of an envelope: its protected header is `{1: 3, 4: kid, ...}` at a fixed place. */
export function envelopeKid({ value }: Pick<StreamRecord, "value">): string {
  const bytes = Buffer.from(value ?? []);
  const at = bytes.indexOf(Buffer.from("0450", "hex"));
  return bytes.subarray(at + 2, at + 18).toString("hex");
}
