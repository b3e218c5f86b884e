/**
 * What `run` makes sure of before it starts processes, so that one missing thing is one sentence: identities, key
 * folders, secrets of the environment, a broker, and the topics.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { StageName } from "../../schemas/topics.ts";
import { SealstreamError } from "../errors.ts";
import type { PipelineSpec } from "../spec/pipeline-spec.ts";
import { secretsOf } from "../stages/desensitize/config-keys.ts";
import { checkTopics } from "../stream/topics.ts";
import { type CommandContext, openKafka, openLogger, trustRoot } from "./context.ts";
import { secretFromEnvironment } from "./secrets.ts";

/** @throws SealstreamError naming the first thing that is missing and what to run */
export async function preflight(
  context: CommandContext,
  spec: PipelineSpec,
  stages: readonly StageName[],
  keysRoot: string,
): Promise<void> {
  trustRoot(spec);
  for (const stage of stages) {
    const folder = join(keysRoot, stage);
    if (!existsSync(folder)) {
      throw new SealstreamError(
        "key-missing",
        `There is no key folder ${folder}: name the right one with --keys, or restore it from a backup.`,
      );
    }
  }
  if (stages.includes("desensitize")) {
    for (const env of secretsOf(spec.desensitize)) {
      secretFromEnvironment(context, env);
    }
  }
  const client = await openKafka(context, spec, openLogger(context, { command: "run" }), {
    forever: true,
  });
  try {
    const { partitions, replicationFactor } = spec.kafka;
    await checkTopics(client, { pipeline: spec.name, partitions, replicationFactor });
  } finally {
    await client.close();
  }
}
