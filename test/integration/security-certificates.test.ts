/** Clients known by their certificates: a role's own one out of the pipeline file, its subject in the ACLs. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { principalOf, securityFor } from "../../pipeline/commands/kafka-credentials.ts";
import { aclsFor, KAFKA_ROLES, type KafkaRole } from "../../pipeline/stream/acls.ts";
import { type ClusterHandle, startEmbeddedCluster } from "../../pipeline/stream/broker-cluster.ts";
import { createAcls } from "../../pipeline/stream/kafkajs-acls.ts";
import { createKafkajsClient } from "../../pipeline/stream/kafkajs-client.ts";
import type { ClientOptions } from "../../pipeline/stream/open-client.ts";
import { createAuthority, hasOpenssl, issue, keyStoreOf } from "../lib/certificates.ts";
import { silentLogger } from "../lib/kafka.ts";

/** A cluster and its jars, on a machine that does much else. */
const START_TIMEOUT_MS = 300_000;
if (!hasOpenssl()) {
  process.stdout.write("SKIPPED: clients with certificates (no OpenSSL 3 here)\n");
}

describe.skipIf(!hasOpenssl())("a cluster that knows clients by their certificates", () => {
  const folder = mkdtempSync(join(tmpdir(), "sealstream-certificates-"));
  const kafka = {
    tls: {
      ca: join(folder, "authority.cert.pem"),
      certificate: join(folder, "{role}.cert.pem"),
      privateKey: join(folder, "{role}.key.pem"),
    },
    sasl: null,
  };
  const world = { environment: {}, clock: Date.now };
  let cluster: ClusterHandle;

  const options = (security: Pick<ClientOptions, "tls" | "sasl">): ClientOptions => ({
    ...{ brokers: cluster.brokers, clientId: "test", compression: "zstd" },
    ...{ sessionTimeoutMs: 6_000, transactionTimeoutMs: 15_000, logger: silentLogger },
    ...security,
  });

  beforeAll(async () => {
    const authority = createAuthority(folder, "authority");
    for (const role of KAFKA_ROLES) {
      issue(folder, role, authority, { subject: `/O=a company/OU=data/CN=${role}` });
    }
    cluster = await startEmbeddedCluster({
      nodes: 1,
      cacheDir: join(import.meta.dirname, "../../build/kafka"),
      dataDir: null,
      environment: process.env,
      onProgress: () => undefined,
      security: {
        keyStoreFile: keyStoreOf(folder, issue(folder, "broker", authority)),
        trustStoreFile: authority.certificateFile,
        nodePrincipal: "User:CN=broker",
        clients: "ssl",
        mechanisms: [],
        users: [],
        superUsers: [principalOf(kafka, "operator")],
      },
    });
  }, START_TIMEOUT_MS);

  afterAll(async () => {
    await cluster?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it("gives each role what the ACLs of its certificate's subject say", async () => {
    expect(principalOf(kafka, "producer")).toBe("User:CN=producer,OU=data,O=a company");
    // Because the entries are exactly one for each role.
    const principals = Object.fromEntries(
      KAFKA_ROLES.map((role) => [role, principalOf(kafka, role)]),
    ) as Record<KafkaRole, string>;
    const asOperator = options(securityFor(kafka, "operator", world));
    const operator = await createKafkajsClient(asOperator);
    const topic = { name: "p.raw", partitions: 1, replicationFactor: 1, config: {} };
    await operator.createTopics([topic]);
    await operator.close();
    const client = await createKafkajsClient(options(securityFor(kafka, "producer", world)));
    await expect(client.describeTopics(["p.raw"])).rejects.toMatchObject({ code: "access-denied" });
    await createAcls(asOperator, aclsFor({ pipeline: "p", principals }));
    const producer = await client.createPlainProducer();
    await producer.send("p.raw", [{ key: null, value: Uint8Array.of(1), partition: 0 }]);
    await producer.close();
    expect(await client.offsets("p.raw", 0)).toEqual({ earliest: 0, latest: 1 });
    await client.close();
  });

  it("refuses a client without a certificate, in one sentence", async () => {
    const anonymous = securityFor(
      { ...kafka, tls: { ...kafka.tls, certificate: null, privateKey: null } },
      "producer",
      world,
    );
    await expect(createKafkajsClient(options(anonymous))).rejects.toMatchObject({
      code: "access-denied",
      message: expect.stringContaining("refuses our certificate or misses one"),
    });
  });

  it("says which file of a role is missing or is no key", () => {
    const missing = { ...kafka, tls: { ...kafka.tls, ca: join(folder, "{role}.nowhere.pem") } };
    expect(() => securityFor(missing, "train", world)).toThrow(
      /train\.nowhere\.pem cannot be read/,
    );
    const swapped = { ...kafka, tls: { ...kafka.tls, privateKey: kafka.tls.certificate } };
    expect(() => securityFor(swapped, "train", world)).toThrow(/without a passphrase/);
    const another = {
      ...kafka,
      tls: { ...kafka.tls, privateKey: join(folder, "predict.key.pem") },
    };
    expect(() => securityFor(another, "train", world)).toThrow(/without a passphrase/);
  });
});
