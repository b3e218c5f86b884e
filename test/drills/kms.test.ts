/**
 * A key management service in trouble while records flow: slow, throttling, away and back; then away for too long.
 *
 * The service is the fake engine of test/lib/fake-vault.ts (real HTTP, a stand-in), and a real OpenBao where one is built
 * (skipped by name otherwise). train's signing key is sealed by it, and its unwrapping key never leaves it.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { type RunningStages, runProgram } from "../../examples/digits/demo/program.ts";
import { scanForMarkers } from "../../examples/digits/demo/scan.ts";
import type { DigitRecord } from "../../examples/digits/records.ts";
import { signEntry } from "../../pipeline/crypto/key-entries.ts";
import { createKeyFile } from "../../pipeline/crypto/key-file.ts";
import { openKeyStore, writeKeyFiles } from "../../pipeline/crypto/key-store.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { topicName } from "../../schemas/topics.ts";
import { startFakeVault, TOKEN } from "../lib/fake-vault.ts";
import { connect, readAll } from "../lib/kafka.ts";
import { type KmsGate, type Mood, startKmsGate } from "../lib/kms-gate.ts";
import { openbaoIsMissing, ROOT_TOKEN, startOpenbao } from "../lib/openbao.ts";
import { digits, makePipeline, type TestPipeline, untilStages } from "../lib/pipeline.ts";

const why = openbaoIsMissing();
if (why !== null) console.warn(`SKIPPED: the drill with a real OpenBao (${why})`);

/** Above what each of the first troubles takes, below what the last one does. */
const PATIENCE_MS = 12_000;
const TROUBLE_MS = 2_500;
/** Between two troubles, so that they do not add up to one that is longer than the patience. */
const CALM_MS = 1_500;
/** A tenth of them validates, give or take: one update less than all of them would make is safe to wait for. */
const RECORDS = 384;
const AGAIN = 75;

interface Service {
  readonly address: string;
  readonly token: string;
  /** Name of the transit key that unwraps for train. */
  readonly unwrapping: string;
  stop(): Promise<void>;
}

const SERVICES: readonly [string, boolean, () => Promise<Service>][] = [
  [
    "a stand-in for Vault, with a symmetric key",
    true,
    async () => {
      const vault = await startFakeVault();
      const { address, stop } = vault;
      return { address, stop, token: TOKEN, unwrapping: "training" };
    },
  ],
  [
    "OpenBao, with an RSA key",
    why === null,
    async () => {
      const { address, ask, stop } = await startOpenbao();
      await ask("POST", "transit/keys/training", { type: "aes256-gcm96" });
      await ask("POST", "transit/keys/training-rsa", { type: "rsa-3072" });
      return { address, stop, token: ROOT_TOKEN, unwrapping: "training-rsa" };
    },
  ],
];

describe.each(SERVICES)("%s", (_name, isThere, startService) => {
  let client: KafkaClient;
  let service: Service;
  let gate: KmsGate;
  let pipeline: TestPipeline;
  let stages: RunningStages;
  let records: DigitRecord[];
  const model = () => Number(stages.reports().get("aggregate")?.notes["model"] ?? 0);

  beforeAll(async () => {
    if (!isThere) return;
    client = await connect(inject("brokers"));
    service = await startService();
    gate = await startKmsGate(service.address);
    pipeline = await makePipeline(
      inject("brokers"),
      // A data key for every 32 records, so that the service is asked all the time.
      (file) =>
        file
          .replace("partitions: 4", "partitions: 1")
          .replace("rotateAfterRecords: 100000", "rotateAfterRecords: 32"),
      {
        environment: {
          VAULT_ADDR: gate.address,
          VAULT_TOKEN: service.token,
          SEALSTREAM_KMS_PATIENCE_MS: String(PATIENCE_MS),
        },
      },
    );
    const seal = ["--seal", "vault:transit/keys/training"];
    await pipeline.run("seal", ["keys", "rotate", pipeline.file, "train-signing", ...seal]);
    await moveUnwrapping();
    records = digits()
      .filter(({ form }) => form.digit !== undefined)
      .slice(0, RECORDS);
  }, 240_000);

  afterAll(async () => {
    await stages?.stop();
    pipeline?.remove();
    await gate?.stop();
    await service?.stop();
    await client?.close();
  });

  /** The training zone's next unwrapping key is one of the service. */
  async function moveUnwrapping(): Promise<void> {
    const uri = Buffer.from(`vault:transit/keys/${service.unwrapping}`);
    const generation = 2;
    const file = createKeyFile("training-unwrap", uri, { kind: "kms", generation });
    await writeKeyFiles(pipeline.keys, [file]);
    const folder = join(pipeline.keys, "identities");
    const identities = await openKeyStore({ folder, holder: "identities" });
    const purpose = "training-unwrap";
    const payload = {
      ...({ type: "recipient", purpose, generation, algorithm: "kms" } as const),
      publicKey: new Uint8Array(uri),
    };
    const signer = identities.signing("training-identity");
    const entry = signEntry({ pipeline: pipeline.name, payload, signer });
    const producer = await client.createPlainProducer();
    await producer.send(topicName(pipeline.name, "keys"), [{ ...entry, partition: 0 }]);
    await producer.close();
  }

  const log = () => readFileSync(join(pipeline.folder, "logs", "run.log"), "utf8");
  /** How processes of a stage ended, oldest first. */
  const exits = (stage: string) =>
    log()
      .split("\n")
      .filter((line) => line.startsWith('{"event":"exit"') && line.includes(`"${stage}"`));

  /** Nothing was given up, and nothing stands in the clear. */
  async function expectNothingLost(count: number): Promise<void> {
    for (const topic of await client.listTopics(`${pipeline.name}.`)) {
      if (!topic.endsWith(".dead")) continue;
      expect((await readAll(client, topic, 1)).flat(), topic).toEqual([]);
    }
    const examples = (await readAll(client, topicName(pipeline.name, "examples"), 1)).flat();
    expect(examples).toHaveLength(count);
    const { hits } = await scanForMarkers({
      ...{ client, pipeline: pipeline.name, partitions: 1, metrics: [] },
      records,
      folders: [join(pipeline.folder, "logs"), pipeline.keys, pipeline.temporary],
    });
    expect(hits).toEqual([]);
  }

  async function mood(next: Mood, forMs: number): Promise<void> {
    gate.state.mood = next;
    await new Promise((resolve) => setTimeout(resolve, forMs));
    gate.state.mood = "well";
  }

  it.skipIf(!isThere)(
    "is waited for while it is slow, throttles, and is away for a while",
    async () => {
      stages = pipeline.start();
      await untilStages(stages, "the genesis model is there", () => {
        return stages.reports().get("aggregate")?.notes["model"] !== undefined;
      });
      const half = RECORDS / 2;
      const produced = pipeline.produce(records.slice(0, half));
      for (const trouble of ["slow", "throttling", "away"] as const) {
        const before = gate.state.count[trouble];
        gate.state.mood = trouble;
        await untilStages(
          stages,
          `somebody meets a service that is ${trouble}`,
          () => gate.state.count[trouble] > before,
        );
        await mood(trouble, TROUBLE_MS);
        await mood("well", CALM_MS);
      }
      await produced;
      await untilStages(stages, "all is trained on", () => model() >= half / 64 - 1);
      expect(gate.state.decrypted).toBeGreaterThan(half / 32 - 2);
      expect(exits("train")).toEqual([]);
      await expectNothingLost(half);
    },
  );

  it.skipIf(!isThere)(
    "that is away for too long stops train with one sentence, and it goes on after that",
    async () => {
      const before = model();
      // Wrapping still works, so that train gets examples that it cannot open.
      gate.state.mood = "half-away";
      await pipeline.produce(records.slice(RECORDS / 2));
      await untilStages(stages, "train stops", () => exits("train").length > 0);
      expect(exits("train")[0]).toContain(`exit code ${AGAIN}`);
      expect(exits("train")[0]).not.toContain('"willRestart":null');
      gate.state.mood = "away";
      const said = log()
        .split("\n")
        .filter((line) => line.startsWith("train: The key management"));
      expect(said[0]).toMatch(
        /management service at http:\S+ does not serve .* then start again\.$/,
      );
      const args = ["run", pipeline.file, "--stage", "train", "--in-process"];
      const alone = await runProgram(pipeline.program, "alone", args);
      expect([alone.code, alone.err.trim().split("\n").at(-1)]).toEqual([
        AGAIN,
        expect.stringContaining("does not serve"),
      ]);
      gate.state.mood = "well";
      await untilStages(stages, "train goes on", () => model() >= RECORDS / 64 - 1);
      expect(model()).toBeGreaterThan(before);
      await expectNothingLost(RECORDS);
      expect(log()).not.toContain(service.token);
    },
  );
});
