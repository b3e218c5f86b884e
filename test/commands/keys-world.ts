/** A pipeline folder and a `keys` topic in memory, for tests of the `keys` command. Must not: be a test. */
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { keys } from "../../pipeline/commands/keys.ts";
import { createDataKey } from "../../pipeline/crypto/data-key.ts";
import { createKeyDirectory, type KeyDirectory } from "../../pipeline/crypto/directory.ts";
import { signerOf, unwrapKeyOf } from "../../pipeline/crypto/key-ceremony-halves.ts";
import type { KeyEntry } from "../../pipeline/crypto/key-entries.ts";
import type { Purpose, SealedTopic } from "../../pipeline/crypto/key-purposes.ts";
import { SEALED_TOPICS } from "../../pipeline/crypto/key-purposes.ts";
import { readKeyFiles } from "../../pipeline/crypto/key-store.ts";
import type { UnwrapKey } from "../../pipeline/crypto/wrap/types.ts";
import { loadPipelineSpec } from "../../pipeline/spec/load.ts";
import type { PipelineSpec } from "../../pipeline/spec/pipeline-spec.ts";
import type { KafkaClient, ProducerRecord } from "../../pipeline/stream/port.ts";
import { plannedTopics } from "../../pipeline/stream/topics.ts";
import { fakeClient } from "../stream/fake-client.ts";
import { recordingContext } from "./recording-context.ts";

const DIGITS = join(import.meta.dirname, "../fixtures/digits");
const ENVIRONMENT = { KAFKA_BROKERS: "nobody:9", PSEUDONYM_KEY: "ab".repeat(32) };

/** The `keys` topic: committed records, in order. */
export interface KeysTopic {
  readonly client: KafkaClient;
  readonly log: ProducerRecord[];
  /** Transactions that were committed. */
  readonly commits: () => number;
  /** What is in the ledger. */
  readonly ledger: ProducerRecord[];
  /** Makes the next commit fail as if the process had been killed before it. */
  failNext: boolean;
}

export function keysTopic(): KeysTopic {
  const log: ProducerRecord[] = [];
  const ledger: ProducerRecord[] = [];
  const named = (name: string) => (name.endsWith(".keys") ? log : ledger);
  let commits = 0;
  const topic: KeysTopic = {
    log,
    ledger,
    commits: () => commits,
    failNext: false,
    client: fakeClient({
      describeTopics: (names) =>
        Promise.resolve(
          plannedTopics({ pipeline: "digits", partitions: 4, replicationFactor: 1 }).filter(
            ({ name }) => names.includes(name),
          ),
        ),
      offsets: (name) => Promise.resolve({ earliest: 0, latest: named(name).length }),
      createReader: (name, _partition, from) => {
        const records = named(name);
        let at = from;
        return Promise.resolve({
          position: () => at,
          close: () => Promise.resolve(),
          fetch: () => {
            const found = records.slice(at).map(({ key, value }, index) => {
              return { offset: from + index, timestampMs: 0, key, value, headers: {} };
            });
            at = records.length;
            return Promise.resolve({
              records: found,
              nextOffset: at,
              lastStableOffset: at,
              highWatermark: at,
            });
          },
        });
      },
      createLaneProducer: () => {
        const open: ProducerRecord[] = [];
        const done = () => Promise.resolve();
        return Promise.resolve({
          begin: done,
          sendOffset: done,
          abort: done,
          close: done,
          send: (_topic: string, _partition: number, records: readonly ProducerRecord[]) => {
            open.push(...records);
            return done();
          },
          commit: () => {
            if (topic.failNext) {
              topic.failNext = false;
              return Promise.reject(new Error("killed"));
            }
            commits += 1;
            log.push(...open);
            return done();
          },
        });
      },
    }),
  };
  return topic;
}

export interface KeysWorld {
  readonly folder: string;
  readonly file: string;
  readonly root: string;
  readonly topic: KeysTopic;
  /** Runs `keys ACTION FILE [WHAT]`; everything that was ever printed and told is in `output`. */
  run(action: string, options?: Record<string, unknown>, what?: string): Promise<Said>;
  readonly output: string[];
  spec(): PipelineSpec;
  directory(unwrap?: readonly UnwrapKey[]): KeyDirectory;
  /** The private keys of a purpose in the folders, newest first. */
  unwrap(purpose: Purpose): Promise<UnwrapKey[]>;
  /** A data key as a running stage announces it. */
  announce(topic: SealedTopic, lane: number, signer?: Purpose): Promise<Uint8Array>;
  append(entries: readonly KeyEntry[]): void;
  remove(): void;
}

export interface Said {
  readonly code: number;
  readonly printed: readonly string[];
  readonly told: readonly string[];
}

export function keysWorld(topic: KeysTopic, environment: Record<string, string> = {}): KeysWorld {
  const folder = mkdtempSync(join(tmpdir(), "sealstream-keys-"));
  const file = join(folder, "pipeline.yaml");
  const root = join(folder, "keys");
  copyFileSync(join(DIGITS, "form.schema.json"), join(folder, "form.schema.json"));
  writeFileSync(file, readFileSync(join(DIGITS, "pipeline.yaml"), "utf8"));
  const output: string[] = [];
  const env = { ...ENVIRONMENT, ...environment };
  const world: KeysWorld = {
    folder,
    file,
    root,
    topic,
    output,
    async run(action, options = {}, what) {
      const { terminal, ...rest } = options;
      const { context, printed, told } = recordingContext({
        environment: env,
        ...(terminal === true && { outputColumns: 80 }),
      });
      try {
        const code = await keys(context, action, file, what, rest);
        return { code, printed, told };
      } catch (error) {
        if (error instanceof Error) output.push(error.message);
        throw error;
      } finally {
        output.push(...printed, ...told);
      }
    },
    spec() {
      const loaded = loadPipelineSpec({ path: file, readFile: readFileSync, env });
      if (loaded.status === "invalid") throw new Error(JSON.stringify(loaded.complaints));
      return loaded.spec;
    },
    directory(unwrap = []) {
      const { zones, revoked, name } = world.spec();
      const directory = createKeyDirectory({
        pipeline: name,
        zones: zones ?? { owner: [], training: [], prediction: [], consumer: [] },
        revoked,
        unwrapKeys: () => unwrap,
        keepsAllDataKeys: true,
      });
      for (const { key, value } of topic.log) directory.apply(key, value);
      return directory;
    },
    async unwrap(purpose) {
      const files = (await readKeyFiles(root)).filter((one) => one.purpose === purpose);
      return files
        .toSorted((a, b) => b.generation - a.generation)
        .map((one) => unwrapKeyOf(one, undefined))
        .flatMap((one) => (one.algorithm === "kms" ? [] : [one]));
    },
    async announce(name, lane, signer = SEALED_TOPICS[name].signer) {
      const directory = world.directory();
      const files = (await readKeyFiles(root)).filter((one) => one.purpose === signer);
      const newest = files.toSorted((a, b) => b.generation - a.generation)[0]!;
      const { dataKey, entry } = await createDataKey({
        pipeline: world.spec().name,
        topic: name,
        lane,
        recipients: directory.recipientsFor(name)!,
        signer: signerOf(newest),
      });
      world.append([entry]);
      return dataKey.kid;
    },
    append: (entries) => void topic.log.push(...entries),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
  return world;
}
