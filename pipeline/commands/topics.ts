/** `sealstream topics FILE`: creates the topics that are missing and checks all. */
import { ensureTopics, plannedTopics } from "../stream/topics.ts";
import { type CommandContext, EXIT, loadSpec, openKafka, openLogger } from "./context.ts";
import type { Options } from "./options.ts";

export async function topics(
  context: CommandContext,
  file: string,
  options: Options,
): Promise<number> {
  const spec = loadSpec(context, file);
  const settings = {
    pipeline: spec.name,
    partitions: spec.kafka.partitions,
    replicationFactor: spec.kafka.replicationFactor,
  };
  const client = await openKafka(context, spec, openLogger(context, { command: "topics" }));
  try {
    const created = new Set(await ensureTopics(client, settings));
    for (const { name, partitions, config } of plannedTopics(settings)) {
      const topic = {
        name,
        partitions,
        created: created.has(name),
        cleanup: config["cleanup.policy"],
      };
      context.print(
        options["json"] === true
          ? JSON.stringify(topic)
          : `${topic.created ? "created" : "exists "}  ${name}  ${partitions} partitions  ${topic.cleanup}`,
      );
    }
    return EXIT.ok;
  } finally {
    await client.close();
  }
}
