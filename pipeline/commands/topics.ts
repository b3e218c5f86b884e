/** `sealstream topics FILE`: creates the topics that are missing and checks all; with `--acls`, who may do what to them. */
import { SealstreamError } from "../errors.ts";
import type { PipelineSpec } from "../spec/pipeline-spec.ts";
import { type Acl, aclArguments, aclsFor, KAFKA_ROLES, type KafkaRole } from "../stream/acls.ts";
import { createAcls } from "../stream/kafkajs-acls.ts";
import { ensureTopics, plannedTopics } from "../stream/topics.ts";
import {
  type CommandContext,
  clientOptions,
  EXIT,
  loadSpec,
  openKafka,
  openLogger,
} from "./context.ts";
import { principalOf } from "./kafka-credentials.ts";
import type { Options } from "./options.ts";

function aclsOf(context: CommandContext, spec: PipelineSpec): Acl[] {
  // Because the entries below are exactly one for each role.
  const principals = Object.fromEntries(
    KAFKA_ROLES.map((role) => [role, principalOf(spec.kafka, role)]),
  ) as Record<KafkaRole, string>;
  if (new Set(Object.values(principals)).size < KAFKA_ROLES.length) {
    context.tell(
      "warning: several roles are one user, who may then do what each of them may: put {role} into kafka.sasl or kafka.tls.certificate",
    );
  }
  return aclsFor({ pipeline: spec.name, principals });
}

/** Prints the ACLs as arguments of `kafka-acls.sh`, or creates them as the operator. */
async function acls(
  context: CommandContext,
  spec: PipelineSpec,
  options: Options,
): Promise<number> {
  const all = aclsOf(context, spec);
  if (options["apply"] === true) {
    const logger = openLogger(context, { command: "topics" });
    await createAcls(clientOptions(context, spec, logger), all);
    context.tell(`${all.length} ACLs are in place for ${spec.name}`);
    return EXIT.ok;
  }
  for (const acl of all) {
    context.print(options["json"] === true ? JSON.stringify(acl) : aclArguments(acl));
  }
  return EXIT.ok;
}

export async function topics(
  context: CommandContext,
  file: string,
  options: Options,
): Promise<number> {
  const spec = loadSpec(context, file);
  if (options["acls"] === true) {
    return acls(context, spec, options);
  }
  if (options["apply"] === true) {
    throw new SealstreamError("usage", "--apply goes with --acls: topics are created without it.");
  }
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
