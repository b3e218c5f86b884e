/**
 * Least privilege as data: which user may do what to which topic, group and transactional id of a pipeline.
 *
 * A zone reaches what its stage reads and writes, and nothing else: nothing is denied by a rule, everything that is not
 * here is denied by the broker (`allow.everyone.if.no.acl.found=false`). So predict's user cannot read `raw`,
 * `desensitized` or `examples` even if its process is taken over. Since Kafka 2.8 whoever may write to a topic may write
 * idempotently, so nobody gets anything on the cluster itself; whoever creates these ACLs needs Alter on it.
 * Source: https://kafka.apache.org/documentation/#operations_resources_and_protocols.
 */
import {
  changelogTopicName,
  deadTopicName,
  STAGE_INPUT,
  STAGES,
  type StageName,
  stageGroup,
  TOPICS,
  type TopicRole,
  topicName,
} from "../../schemas/topics.ts";

/** Who connects: a stage, or a command for people. */
export type KafkaRole = StageName | "producer" | "consumer" | "reader" | "operator" | "replayer";

export const KAFKA_ROLES = [
  ...STAGES,
  "producer",
  "consumer",
  "reader",
  "operator",
  "replayer",
] as const satisfies readonly KafkaRole[];

export type AclOperation = "Read" | "Write" | "Describe" | "Create";

export interface Acl {
  /** `User:name` as the broker sees it. */
  readonly principal: string;
  readonly operation: AclOperation;
  readonly resource: "topic" | "group" | "transactional-id";
  readonly name: string;
  readonly pattern: "literal" | "prefixed";
}

type Grant = Omit<Acl, "principal">;

/** Beside its input, dead letters and changelog. `keys` is written where data keys are made. */
const STAGE_TOPICS: Readonly<
  Record<StageName, { reads: readonly TopicRole[]; writes: readonly TopicRole[] }>
> = {
  desensitize: { reads: ["keys"], writes: ["desensitized"] },
  encrypt: { reads: ["keys"], writes: ["examples", "records", "packs", "keys"] },
  train: { reads: ["keys", "ledger", "models"], writes: ["contributions", "keys"] },
  aggregate: { reads: ["keys", "ledger", "models"], writes: ["ledger", "models", "keys"] },
  predict: { reads: ["keys", "ledger", "models"], writes: ["predictions"] },
};

/** Stages whose dead letters an operator can send again. */
const REPLAYABLE = ["desensitize", "encrypt"] as const satisfies readonly StageName[];

const topic = (operation: AclOperation, name: string): Grant => ({
  ...{ operation, resource: "topic", name, pattern: "literal" },
});
const group = (operation: AclOperation, name: string): Grant => ({
  ...{ operation, resource: "group", name, pattern: "literal" },
});
const transactions = (name: string, pattern: Acl["pattern"]): Grant => ({
  ...{ operation: "Write", resource: "transactional-id", name, pattern },
});

function stageGrants(pipeline: string, stage: StageName): Grant[] {
  const { reads, writes } = STAGE_TOPICS[stage];
  const input = STAGE_INPUT[stage];
  const own = stageGroup(pipeline, stage);
  const changelog = changelogTopicName(pipeline, stage);
  return [
    ...[input, ...reads].map((role) => topic("Read", topicName(pipeline, role))),
    ...writes.map((role) => topic("Write", topicName(pipeline, role))),
    topic("Write", deadTopicName(pipeline, input)),
    topic("Read", changelog),
    topic("Write", changelog),
    group("Read", own),
    // A lane's id is its group, its topic and its partition.
    transactions(`${own}.${topicName(pipeline, input)}.`, "prefixed"),
  ];
}

/** Creates topics, publishes keys, lists dead letters, sees where stages stand; reads nobody's records in the clear. */
function operatorGrants(pipeline: string): Grant[] {
  // Because Object.keys of a Record has exactly the record's keys.
  const roles = Object.keys(TOPICS) as TopicRole[];
  const all = [
    ...roles.map((role) => topicName(pipeline, role)),
    ...STAGES.flatMap((stage) => [
      deadTopicName(pipeline, STAGE_INPUT[stage]),
      changelogTopicName(pipeline, stage),
    ]),
  ];
  return [
    ...all.flatMap((name) => [topic("Create", name), topic("Describe", name)]),
    topic("Read", topicName(pipeline, "keys")),
    topic("Write", topicName(pipeline, "keys")),
    transactions(`${pipeline}.keys-ceremony`, "literal"),
    ...deadTopics(pipeline),
    // Public facts about the models (`status`).
    topic("Read", topicName(pipeline, "ledger")),
    ...STAGES.map((stage) => group("Describe", stageGroup(pipeline, stage))),
  ];
}

/** Sends dead letters again after a look at what came through: somebody of the owner's zone. */
function replayerGrants(pipeline: string): Grant[] {
  return [
    ...(["keys", "raw", "desensitized", "examples"] as const).map((role) =>
      topic("Read", topicName(pipeline, role)),
    ),
    ...deadTopics(pipeline),
    ...REPLAYABLE.flatMap((stage) => [
      topic("Write", topicName(pipeline, STAGE_INPUT[stage])),
      topic("Write", deadTopicName(pipeline, STAGE_INPUT[stage])),
      group("Describe", stageGroup(pipeline, stage)),
      group("Read", `${stageGroup(pipeline, stage)}.replay`),
    ]),
    transactions(`${pipeline}.dead-letters.replay`, "literal"),
  ];
}

function deadTopics(pipeline: string): Grant[] {
  return STAGES.map((stage) => topic("Read", deadTopicName(pipeline, STAGE_INPUT[stage])));
}

function grantsOf(pipeline: string, role: KafkaRole): Grant[] {
  switch (role) {
    case "producer":
      return [topic("Write", topicName(pipeline, "raw"))];
    case "consumer":
      return [
        ...(["predictions", "keys", "ledger"] as const).map((name) =>
          topic("Read", topicName(pipeline, name)),
        ),
        // Each service keeps its positions with a group of its own (`client/consume.ts`).
        { ...group("Read", `${pipeline}.consumer.`), pattern: "prefixed" },
      ];
    case "reader":
      // Whoever was granted keys of `records`; which fields open is a matter of keys.
      return (["records", "keys"] as const).map((name) => topic("Read", topicName(pipeline, name)));
    case "operator":
      return operatorGrants(pipeline);
    case "replayer":
      return replayerGrants(pipeline);
    default:
      return stageGrants(pipeline, role);
  }
}

/** Topics that a role reads or writes; it sees no others. */
export function topicsInReach(pipeline: string, role: KafkaRole): ReadonlySet<string> {
  const grants = grantsOf(pipeline, role);
  return new Set(grants.flatMap(({ resource, name }) => (resource === "topic" ? [name] : [])));
}

/**
 * Every ACL that a pipeline's users need, without repetition.
 * @param principals who each role is; roles may share one
 */
export function aclsFor(options: {
  readonly pipeline: string;
  readonly principals: Readonly<Record<KafkaRole, string>>;
}): Acl[] {
  const acls = KAFKA_ROLES.flatMap((role) =>
    grantsOf(options.pipeline, role).map((grant) => ({
      principal: options.principals[role],
      ...grant,
    })),
  );
  return [...new Map(acls.map((acl) => [aclArguments(acl), acl])).values()];
}

/** A word of a shell command, quoted where it must be. */
function word(text: string): string {
  return /^[\w.:=,@/-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** The arguments of `kafka-acls.sh` that create an ACL. */
export function aclArguments({ principal, operation, resource, name, pattern }: Acl): string {
  return [
    ...["--add", "--allow-principal", word(principal), "--operation", operation],
    ...[`--${resource}`, word(name)],
    ...(pattern === "prefixed" ? ["--resource-pattern-type", "prefixed"] : []),
  ].join(" ");
}
