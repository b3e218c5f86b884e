/** One real broker for all integration and chaos tests: KAFKA_BROKERS if set, else embedded, else a container. */
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { openBroker } from "../../pipeline/stream/broker.ts";

declare module "vitest" {
  interface ProvidedContext {
    brokers: readonly string[];
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const named = process.env["KAFKA_BROKERS"];
  const handle = await openBroker({
    brokers: named === undefined || named === "" ? [] : named.split(","),
    cacheDir: join(import.meta.dirname, "../../build/kafka"),
    dataDir: null,
    port: null,
    environment: process.env,
    onProgress: (message) => process.stderr.write(`broker: ${message}\n`),
  });
  project.provide("brokers", handle.brokers);
  return () => handle.stop();
}
