/**
 * The wire under TLS, SASL and ACLs, on a real broker that refuses everything that is not allowed: the main job runs with
 * each stage as a user of its own, and nobody reaches more than `sealstream topics --acls` says.
 */
import { readFileSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import kafkajs, { type Admin, type Kafka } from "kafkajs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runProgram } from "../../examples/digits/demo/program.ts";
import { createTokenSource } from "../../pipeline/commands/oauth-token.ts";
import { aclsFor, topicsInReach } from "../../pipeline/stream/acls.ts";
import { createAcls } from "../../pipeline/stream/kafkajs-acls.ts";
import { createKafkajsClient } from "../../pipeline/stream/kafkajs-client.ts";
import type { ClientOptions } from "../../pipeline/stream/open-client.ts";
import { topicName } from "../../schemas/topics.ts";
import { createAuthority, hasOpenssl, issue } from "../lib/certificates.ts";
import { until } from "../lib/kafka.ts";
import { digits, makePipeline, type TestPipeline, untilStages } from "../lib/pipeline.ts";
import {
  ADMIN,
  passwordVariables,
  principals,
  type SecureCluster,
  STRANGER,
  startSecureCluster,
} from "../lib/secure-cluster.ts";
import { startTokenEndpoint } from "../lib/token-endpoint.ts";

/** A cluster and its jars, on a machine that does much else. */
const START_TIMEOUT_MS = 300_000;
const LABELLED = 150;
const UNLABELLED = 20;
const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } = kafkajs;

if (!hasOpenssl()) {
  process.stdout.write("SKIPPED: TLS, SASL and ACLs on the wire (no OpenSSL 3 here)\n");
}

describe.skipIf(!hasOpenssl())("a cluster with TLS, SASL and ACLs", () => {
  let cluster: SecureCluster;
  let pipeline: TestPipeline;
  let admin: Admin;

  /** kafkajs itself, as a user: what somebody who took over a stage's process could do. */
  function rawKafka(user: string): Kafka {
    return new kafkajs.Kafka({
      brokers: [...cluster.brokers],
      ssl: { ca: cluster.ca },
      sasl: { mechanism: "scram-sha-512", username: user, password: cluster.passwordOf(user) },
      logLevel: kafkajs.logLevel.NOTHING,
      retry: { retries: 2 },
    });
  }

  /** The pipeline file with the cluster's security, and what a test changes in it. */
  function secured(text: string, username = "{role}", ca = cluster.caFile): string {
    return text.replace(
      "  partitions: 4\n",
      [
        "  partitions: 2",
        "  tls:",
        `    ca: ${ca}`,
        "  sasl:",
        "    mechanism: scram-sha-512",
        `    username: "${username}"`,
        '    password: "env:KAFKA_PASSWORD"',
        "",
      ].join("\n"),
    );
  }

  /** Runs a command with another pipeline file and environment. */
  function runWith(
    name: string,
    args: readonly string[],
    change: { edit?: (text: string) => string; environment?: Record<string, string> } = {},
  ) {
    const file = join(pipeline.folder, `${name}.yaml`);
    const edit = change.edit ?? ((text: string) => text);
    writeFileSync(file, edit(readFileSync(pipeline.file, "utf8")));
    const environment = { ...pipeline.program.environment, ...change.environment };
    const [command = "", ...rest] = args;
    return runProgram({ ...pipeline.program, environment }, name, [command, file, ...rest]);
  }

  beforeAll(async () => {
    cluster = await startSecureCluster();
    admin = rawKafka(ADMIN).admin();
    await admin.connect();
    pipeline = await makePipeline(cluster.brokers, secured, {
      environment: passwordVariables(cluster),
      // From here on everybody, the operator too, lives by the printed ACLs.
      before: ({ name }) =>
        createAcls(cluster.options(ADMIN), aclsFor({ pipeline: name, principals })),
    });
  }, START_TIMEOUT_MS);

  afterAll(async () => {
    await admin?.disconnect();
    pipeline?.remove();
    await cluster?.stop();
  });

  it("runs the main job with every stage as its own user", async () => {
    const all = digits();
    const stages = pipeline.start();
    const note = (stage: string, name: string): number =>
      Number(stages.reports().get(stage)?.notes[name] ?? 0);
    await pipeline.produce(all.filter(({ form }) => form.digit !== undefined).slice(0, LABELLED));
    await untilStages(stages, "the model was updated", () => note("aggregate", "model") >= 1);
    const unlabelled = all.filter(({ form }) => form.digit === undefined).slice(0, UNLABELLED);
    await pipeline.produce(unlabelled);
    await untilStages(
      stages,
      "all are predicted",
      () => note("predict", "predicted") >= UNLABELLED,
    );
    const predictions = await pipeline.predictions();
    expect(predictions.map(({ recordId }) => recordId).sort()).toEqual(
      unlabelled.map(({ form }) => form.formId).sort(),
    );
    const ledger = await pipeline.run("ledger", ["ledger", pipeline.file, "--verify", "--json"]);
    expect(ledger.trim().split("\n").length).toBeGreaterThan(1);
    // As the operator, who may see offsets, groups and the ledger, and read nothing that is sealed.
    const status = JSON.parse(await pipeline.run("status", ["status", pipeline.file, "--json"]));
    expect(status).toMatchObject({ ledger: { faults: 0, training: { status: "goes-on" } } });
    expect(status.ledger.model.version).toBeGreaterThanOrEqual(1);
    for (const { stage, members } of status.stages) {
      expect([stage, members.length]).toEqual([stage, 1]);
    }
    await stages.stop();
  });

  it.each([
    ["predict", ["raw", "desensitized", "examples", "records", "contributions", "predictions"]],
    ["train", ["raw", "desensitized", "records", "packs", "predictions"]],
    ["aggregate", ["raw", "desensitized", "examples", "packs", "predictions"]],
    ["desensitize", ["desensitized", "examples", "packs", "models", "predictions"]],
    ["encrypt", ["raw", "examples", "records", "packs", "models", "predictions"]],
    ["producer", ["raw", "desensitized", "predictions"]],
    ["consumer", ["raw", "desensitized", "examples", "records", "packs"]],
    ["reader", ["raw", "desensitized", "examples", "packs", "models", "predictions"]],
  ] as const)("lets %s not read %j", async (role, forbidden) => {
    const client = await createKafkajsClient(cluster.options(role));
    for (const name of forbidden) {
      const topic = topicName(pipeline.name, name);
      const read = async () => {
        const reader = await client.createReader(topic, 0, 0);
        await reader.fetch({ maxBytes: 1_000, maxWaitMs: 10 }).finally(() => reader.close());
      };
      await expect(read()).rejects.toMatchObject({
        code: "access-denied",
        message: expect.stringContaining("TOPIC_AUTHORIZATION_FAILED"),
      });
    }
    await client.close();
    // Not our client alone: the broker itself refuses, and hides what cannot be reached.
    const own = rawKafka(role).admin();
    await own.connect();
    const seen = (await own.listTopics()).sort();
    await own.disconnect();
    expect(seen).toEqual([...topicsInReach(pipeline.name, role)].sort());
  });

  it("lets predict read what it needs, so that the refusals above are not of everything", async () => {
    const client = await createKafkajsClient(cluster.options("predict"));
    const reader = await client.createReader(topicName(pipeline.name, "packs"), 0, 0);
    await reader.fetch({ maxBytes: 1_000_000, maxWaitMs: 10 });
    await reader.close();
    await client.close();
  });

  it("lets a stage not take over another stage's lane, nor write to its topics", async () => {
    const client = await createKafkajsClient(cluster.options("predict"));
    await expect(
      client.createLaneProducer(`${pipeline.name}.encrypt.${pipeline.name}.desensitized.0`),
    ).rejects.toMatchObject({
      code: "access-denied",
      message: expect.stringContaining("TRANSACTIONAL_ID_AUTHORIZATION_FAILED"),
    });
    const lane = await client.createLaneProducer(
      `${pipeline.name}.predict.${pipeline.name}.packs.0`,
    );
    await lane.begin();
    const write = lane
      .send(topicName(pipeline.name, "ledger"), 0, [{ key: null, value: Uint8Array.of(1) }])
      .then(() => lane.commit());
    await expect(write).rejects.toMatchObject({ code: "access-denied" });
    await lane.close();
    await expect(
      client.committedOffset(`${pipeline.name}.encrypt`, `${pipeline.name}.packs`, 0),
    ).rejects.toMatchObject({
      code: "access-denied",
      message: expect.stringContaining("GROUP_AUTHORIZATION_FAILED"),
    });
    await client.close();
  });

  it.each([
    ["topic", AclResourceTypes.TOPIC, "raw", "TOPIC_AUTHORIZATION_FAILED"],
    ["group", AclResourceTypes.GROUP, "desensitize", "GROUP_AUTHORIZATION_FAILED"],
    [
      "transactional id",
      AclResourceTypes.TRANSACTIONAL_ID,
      "desensitize.",
      "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    ],
  ] as const)(
    "stops a stage that lacks the ACL of its %s",
    async (_what, resourceType, name, answer) => {
      const isPrefix = name.endsWith(".");
      await admin.deleteAcls({
        filters: [
          {
            resourceType,
            resourceName: `${pipeline.name}.${name}${isPrefix ? `${pipeline.name}.raw.` : ""}`,
            resourcePatternType: isPrefix
              ? ResourcePatternTypes.PREFIXED
              : ResourcePatternTypes.LITERAL,
            principal: "User:desensitize",
            operation: AclOperationTypes.ANY,
            permissionType: AclPermissionTypes.ALLOW,
          },
        ],
      });
      const args = ["run", "--stage", "desensitize", "--in-process", "--keys", pipeline.keys];
      const { code, err } = await runWith(`without-${answer}`, args);
      await createAcls(cluster.options(ADMIN), aclsFor({ pipeline: pipeline.name, principals }));
      expect({ code, err }).toEqual({ code: 1, err: expect.stringContaining(answer) });
      expect(err).toContain("sealstream topics FILE --acls");
    },
  );

  it("creates the ACLs that it prints, once the operator may", async () => {
    const printed = await pipeline.run("acls", ["topics", pipeline.file, "--acls"]);
    const lines = printed.trim().split("\n");
    expect(lines).toContain(
      `--add --allow-principal User:predict --operation Read --topic ${pipeline.name}.packs`,
    );
    expect(lines.filter((line) => /User:predict .*Read --topic .*\.raw$/.test(line))).toEqual([]);
    const refused = await runWith("apply-refused", ["topics", "--acls", "--apply"]);
    expect(refused).toMatchObject({
      code: 1,
      err: expect.stringContaining("CLUSTER_AUTHORIZATION_FAILED"),
    });
    await admin.createAcls({
      acl: [
        {
          resourceType: AclResourceTypes.CLUSTER,
          resourceName: "kafka-cluster",
          resourcePatternType: ResourcePatternTypes.LITERAL,
          principal: "User:operator",
          host: "*",
          operation: AclOperationTypes.ALTER,
          permissionType: AclPermissionTypes.ALLOW,
        },
      ],
    });
    const rename = (text: string): string => text.replace(/^name: .*$/m, "name: applied");
    const applied = await runWith("apply", ["topics", "--acls", "--apply"], { edit: rename });
    expect(applied).toMatchObject({ code: 0 });
    const count = async () => {
      const { resources } = await admin.describeAcls({
        resourceType: AclResourceTypes.ANY,
        resourcePatternType: ResourcePatternTypes.ANY,
        operation: AclOperationTypes.ANY,
        permissionType: AclPermissionTypes.ANY,
      });
      return resources
        .filter(({ resourceName }) => resourceName.startsWith("applied."))
        .reduce((sum, { acls }) => sum + acls.length, 0);
    };
    // A broker that answers has not always heard of what the controller has just taken.
    await expect.poll(count, { timeout: 20_000 }).toBe(lines.length);
  });

  const check = ["topics"];
  it.each([
    [
      "a wrong password",
      {
        environment: { KAFKA_PASSWORD_OPERATOR: "wrong" },
        says: "Kafka refuses this user or its password",
      },
    ],
    [
      "a missing password",
      { environment: { KAFKA_PASSWORD_OPERATOR: "" }, says: "KAFKA_PASSWORD" },
    ],
    ["no TLS", { remove: /^ {2}tls:\n {4}ca: .*\n/m, says: "without TLS" }],
    ["no SASL", { remove: /^ {2}sasl:\n(?: {4}.*\n){3}/m, says: "kafka.sasl" }],
    ["the system's authorities", { remove: /\n {4}ca: .*/, by: " true", says: "kafka.tls.ca" }],
    ["a user without rights", { user: STRANGER, says: "TOPIC_AUTHORIZATION_FAILED" }],
  ] satisfies [
    string,
    {
      says: string;
      environment?: Record<string, string>;
      remove?: RegExp;
      by?: string;
      user?: string;
    },
  ][])(
    "ends with one sentence and code 1 for %s",
    async (name, change: {
      says: string;
      environment?: Record<string, string>;
      remove?: RegExp;
      by?: string;
      user?: string;
    }) => {
      const { remove, user } = change;
      const { code, err } = await runWith(`wrong-${name.replaceAll(/\W/g, "-")}`, check, {
        environment: {
          ...change.environment,
          ...(user === undefined ? {} : { KAFKA_PASSWORD_OPERATOR: cluster.passwordOf(user) }),
        },
        edit: (text) => {
          const renamed =
            user === undefined ? text : text.replace('username: "{role}"', `username: ${user}`);
          return remove === undefined ? renamed : renamed.replace(remove, change.by ?? "");
        },
      });
      expect({ code, err }).toEqual({ code: 1, err: expect.stringContaining(change.says) });
      expect(err.trim().split("\n")).toHaveLength(1);
    },
  );

  it("refuses a broker whose certificate another authority signed, or that names another host", async () => {
    const other = cluster.options(ADMIN, {
      tls: { ca: cluster.otherCa, certificate: null, privateKey: null },
    });
    await expect(createKafkajsClient(other)).rejects.toMatchObject({
      code: "access-denied",
      message: expect.stringContaining("does not vouch for"),
    });
    const authority = createAuthority(cluster.folder, "trusted");
    const elsewhere = issue(cluster.folder, "elsewhere", authority, {
      hosts: "DNS:elsewhere.example",
    });
    const received: Buffer[] = [];
    const impostor = createTlsServer(
      { key: readFileSync(elsewhere.keyFile), cert: readFileSync(elsewhere.certificateFile) },
      (socket) => socket.on("data", (data) => received.push(data)),
    );
    impostor.on("tlsClientError", () => undefined);
    await new Promise<void>((resolve) => impostor.listen(0, "127.0.0.1", resolve));
    const { port } = impostor.address() as AddressInfo;
    const options = cluster.options(ADMIN, {
      brokers: [`127.0.0.1:${port}`],
      tls: {
        ca: readFileSync(authority.certificateFile, "utf8"),
        certificate: null,
        privateKey: null,
      },
    });
    await expect(createKafkajsClient(options)).rejects.toMatchObject({
      code: "access-denied",
      message: expect.stringContaining("another host name"),
    });
    impostor.close();
    expect(received).toEqual([]);
  });

  it("connects with a token, and goes on after it has expired", async () => {
    const endpoint = await startTokenEndpoint({ livesSeconds: 18 });
    const source = (secret: string) =>
      createTokenSource({
        endpoint: endpoint.url,
        clientId: "producer",
        clientSecret: secret,
        scope: null,
        clock: Date.now,
      });
    const options = (secret: string): ClientOptions =>
      cluster.options("producer", { sasl: { mechanism: "oauthbearer", token: source(secret) } });
    await expect(createKafkajsClient(options("wrong"))).rejects.toMatchObject({
      code: "access-denied",
      message: expect.stringContaining("gives producer no token"),
    });
    const client = await createKafkajsClient(options("right"));
    const producer = await client.createPlainProducer();
    const topic = topicName(pipeline.name, "raw");
    let sent = 0;
    const firstExpiresAtMs = endpoint.expiries[0] ?? 0;
    await until("the first token has expired", async () => {
      await producer.send(topic, [{ key: null, value: Uint8Array.of(1), partition: 0 }]);
      sent += 1;
      return Date.now() > firstExpiresAtMs + 1_000;
    });
    await producer.close();
    await client.close();
    await endpoint.stop();
    expect(sent).toBeGreaterThan(10);
    expect(new Set(endpoint.expiries).size).toBeGreaterThan(1);
  });
});
