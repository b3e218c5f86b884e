/**
 * A downstream service: counts labels as predictions come, and goes on where it stopped, whatever stops it.
 *
 * `KAFKA_BROKERS=HOST:PORT node examples/downstream/service.ts PIPELINE.yaml KEYS/consumer TALLY.json [--follow]`
 *
 * It holds the consumer's keys and nothing else, has a consumer group of its own (`downstream`), and what leaves it are
 * counts. SIGTERM ends it after the batch in the making. Kafka with a password or TLS: see `createKafkajsClient`.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import {
  consumePredictions,
  createConsumerRefresh,
  createKafkajsClient,
  loadPipelineSpec,
  openKeyStore,
  readConsumerDirectory,
} from "../../pipeline/client/index.ts";
import { count, load, save } from "./store.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { follow: { type: "boolean", default: false } },
});
const [file, folder, output] = positionals;
const brokers = process.env["KAFKA_BROKERS"]?.split(",") ?? [];
if (file === undefined || folder === undefined || output === undefined || brokers.length === 0) {
  throw new Error("usage: KAFKA_BROKERS=HOST:PORT service.ts PIPELINE KEYS OUTPUT [--follow]");
}
const loaded = loadPipelineSpec({ path: file, readFile: readFileSync, env: process.env });
if (loaded.status === "invalid" || loaded.spec.zones === null) {
  throw new Error("The pipeline file is not valid, or pins no zones yet: run sealstream check.");
}
const { name: pipeline, zones, revoked, kafka, features } = loaded.spec;
const quiet = () => undefined;
const client = await createKafkajsClient({
  ...{ brokers, clientId: "downstream", compression: "none" },
  ...{ sessionTimeoutMs: 30_000, transactionTimeoutMs: 60_000 },
  logger: { debug: quiet, info: quiet, warn: quiet, error: quiet },
});
const stop = new AbortController();
for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop.abort());
try {
  const keys = await openKeyStore({ folder, holder: "consumer" });
  const directory = await readConsumerDirectory({ client, pipeline, zones, revoked });
  let tally = load(output);
  const batches = consumePredictions({
    ...{ client, pipeline, partitions: kafka.partitions, classes: features.label.classes },
    ...{ directory, keys, group: "downstream", follow: values.follow, signal: stop.signal },
    refresh: createConsumerRefresh({ client, pipeline, directory, keys }),
    onRefused: ({ lane, offset, reason }) =>
      process.stderr.write(`refused a bundle at lane ${lane}, offset ${offset}: ${reason}\n`),
  });
  for await (const batch of batches) {
    tally = count(tally, batch);
    save(output, tally);
  }
  process.stdout.write(`${JSON.stringify(tally.labels)}\n`);
} finally {
  await client.close();
}
