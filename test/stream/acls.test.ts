/** Least privilege as data: what each role reaches, and above all what it does not. */
import { describe, expect, it } from "vitest";
import {
  type Acl,
  aclArguments,
  aclsFor,
  KAFKA_ROLES,
  type KafkaRole,
  topicsInReach,
} from "../../pipeline/stream/acls.ts";
import { accessDenied } from "../../pipeline/stream/security.ts";
import { plannedTopics } from "../../pipeline/stream/topics.ts";
import { STAGES, type TopicRole } from "../../schemas/topics.ts";

// Because the entries are exactly one for each role.
const principals = Object.fromEntries(KAFKA_ROLES.map((role) => [role, `User:${role}`])) as Record<
  KafkaRole,
  string
>;
const acls = aclsFor({ pipeline: "p", principals });

function topicsOf(role: KafkaRole, operation: Acl["operation"]): string[] {
  return acls
    .filter(
      (acl) =>
        acl.principal === `User:${role}` && acl.resource === "topic" && acl.operation === operation,
    )
    .map(({ name }) => name)
    .sort();
}

describe("the ACLs of a pipeline", () => {
  it.each([
    ["desensitize", ["keys", "raw"], ["desensitized", "raw.dead"]],
    [
      "encrypt",
      ["desensitized", "keys"],
      ["desensitized.dead", "examples", "keys", "packs", "records"],
    ],
    ["train", ["examples", "keys", "ledger", "models"], ["contributions", "examples.dead", "keys"]],
    [
      "aggregate",
      ["contributions", "keys", "ledger", "models"],
      ["contributions.dead", "keys", "ledger", "models"],
    ],
    ["predict", ["keys", "ledger", "models", "packs"], ["packs.dead", "predictions"]],
  ] as const)(
    "let %s read %j and write %j and its changelog, nothing else",
    (stage, reads, writes) => {
      const own = `${stage}.changelog`;
      const names = (roles: readonly string[]): string[] =>
        [...roles, own].map((name) => `p.${name}`).sort();
      expect(topicsOf(stage, "Read")).toEqual(names(reads));
      expect(topicsOf(stage, "Write")).toEqual(names(writes));
      expect(topicsOf(stage, "Create")).toEqual([]);
      expect(topicsOf(stage, "Describe")).toEqual([]);
    },
  );

  it("let nobody but desensitize and the operator read what names people", () => {
    const mayRead = (role: TopicRole): KafkaRole[] =>
      KAFKA_ROLES.filter((who) => topicsOf(who, "Read").includes(`p.${role}`));
    expect(mayRead("raw")).toEqual(["desensitize", "replayer"]);
    expect(mayRead("desensitized")).toEqual(["encrypt", "replayer"]);
    expect(mayRead("examples")).toEqual(["train", "replayer"]);
    expect(mayRead("predictions")).toEqual(["consumer"]);
    expect(mayRead("records")).toEqual(["reader"]);
  });

  it("let a reader of records read those and keys, and write nothing: who has a data key could seal under it", () => {
    expect(topicsOf("reader", "Read")).toEqual(["p.keys", "p.records"]);
    expect(acls.filter(({ principal }) => principal === "User:reader")).toHaveLength(2);
  });

  it("give each stage its own group and the transactional ids of its own lanes", () => {
    for (const stage of STAGES) {
      const own = acls.filter(({ principal }) => principal === `User:${stage}`);
      expect(own.filter(({ resource }) => resource === "group")).toEqual([
        expect.objectContaining({ name: `p.${stage}`, pattern: "literal", operation: "Read" }),
      ]);
      const [ids, ...more] = own.filter(({ resource }) => resource === "transactional-id");
      expect(more).toEqual([]);
      expect(ids).toMatchObject({ pattern: "prefixed", operation: "Write" });
      expect(`p.${stage}.p.x.0`.startsWith(ids?.name.slice(0, `p.${stage}.p.`.length) ?? "-")).toBe(
        true,
      );
    }
  });

  it("let the operator see where stages stand and what the ledger says, and join or commit nothing", () => {
    const own = acls.filter(({ principal }) => principal === "User:operator");
    expect(
      own
        .filter(({ resource }) => resource === "group")
        .map(({ name, operation }) => [name, operation]),
    ).toEqual(STAGES.map((stage) => [`p.${stage}`, "Describe"]));
    expect(topicsOf("operator", "Read")).toEqual(
      ["contributions.dead", "desensitized.dead", "examples.dead", "keys", "ledger", "packs.dead"]
        .concat("raw.dead")
        .map((name) => `p.${name}`),
    );
  });

  it("give no prefix but to transactional ids and consumers' groups, never to another pipeline's topics", () => {
    const prefixed = acls.filter(
      ({ pattern, resource }) => pattern === "prefixed" && resource !== "transactional-id",
    );
    // No name of a pipeline has a dot in it.
    expect(prefixed.map(({ resource, name }) => `${resource} ${name}`)).toEqual([
      "group p.consumer.",
    ]);
    expect(acls.every(({ name }) => name.startsWith("p."))).toBe(true);
  });

  it("name only topics of the pipeline, and let the operator create all of them", () => {
    const planned = plannedTopics({ pipeline: "p", partitions: 2, replicationFactor: 1 })
      .map(({ name }) => name)
      .sort();
    for (const role of KAFKA_ROLES) {
      expect(planned).toEqual(expect.arrayContaining([...topicsInReach("p", role)]));
    }
    expect(topicsOf("operator", "Create")).toEqual(planned);
  });

  it("are printed once when roles share a user", () => {
    // Because the entries are exactly one for each role.
    const shared = Object.fromEntries(KAFKA_ROLES.map((role) => [role, "User:all"])) as Record<
      KafkaRole,
      string
    >;
    const lines = aclsFor({ pipeline: "p", principals: shared }).map(aclArguments);
    expect(new Set(lines).size).toBe(lines.length);
    expect(lines.length).toBeLessThan(acls.length);
  });

  it("are arguments of kafka-acls.sh that a shell takes apart rightly", () => {
    const acl: Acl = {
      principal: "User:CN=it's,O=a b",
      operation: "Write",
      resource: "transactional-id",
      name: "p.train.p.examples.",
      pattern: "prefixed",
    };
    expect(aclArguments(acl)).toBe(
      `--add --allow-principal 'User:CN=it'\\''s,O=a b' --operation Write --transactional-id p.train.p.examples. --resource-pattern-type prefixed`,
    );
  });
});

describe("a refusal", () => {
  it.each([
    [29, "TOPIC_AUTHORIZATION_FAILED"],
    [30, "GROUP_AUTHORIZATION_FAILED"],
    [31, "CLUSTER_AUTHORIZATION_FAILED"],
    [53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"],
  ])("is known by code %i and by its name %s, and names the resource", (code, type) => {
    const nested = Object.assign(new Error("outer"), {
      cause: Object.assign(new Error("inner: secret"), { type }),
    });
    for (const error of [code, nested]) {
      const denied = accessDenied(error, "topic p.raw");
      expect(denied).toMatchObject({ code: "access-denied", retriable: false });
      expect(denied?.message).toContain("topic p.raw");
      expect(denied?.message).toContain(type);
      expect(denied?.message).not.toContain("secret");
    }
  });

  it.each([
    0,
    3,
    47,
    28,
    32,
    52,
    54,
    null,
    undefined,
    "TOPIC_AUTHORIZATION_FAILED",
    new Error("x"),
  ])("is nothing else: %s", (error) => {
    expect(accessDenied(error, "topic p.raw")).toBeNull();
  });

  it("ends on errors that cause each other in a circle", () => {
    const circle: { cause?: unknown } = {};
    circle.cause = circle;
    expect(accessDenied(circle, "topic p.raw")).toBeNull();
  });
});
