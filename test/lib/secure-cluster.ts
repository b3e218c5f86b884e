/** An embedded broker under TLS, SCRAM, OAUTHBEARER and ACLs, with a user for each role. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KAFKA_ROLES, type KafkaRole } from "../../pipeline/stream/acls.ts";
import { startEmbeddedCluster } from "../../pipeline/stream/broker-cluster.ts";
import type { ClientOptions } from "../../pipeline/stream/open-client.ts";
import { createAuthority, issue, keyStoreOf } from "./certificates.ts";
import { silentLogger } from "./kafka.ts";

export const ADMIN = "admin";
/** A user who is known and may do nothing. */
export const STRANGER = "stranger";

export interface SecureCluster {
  readonly brokers: readonly string[];
  readonly folder: string;
  readonly caFile: string;
  /** PEM of the authority that signed the broker, and of one that did not. */
  readonly ca: string;
  readonly otherCa: string;
  passwordOf(user: string): string;
  /** What a user connects with. */
  options(user: string, overrides?: Partial<ClientOptions>): ClientOptions;
  stop(): Promise<void>;
}

export const passwordVariables = (cluster: SecureCluster): Record<string, string> =>
  Object.fromEntries(
    KAFKA_ROLES.map((role) => [`KAFKA_PASSWORD_${role.toUpperCase()}`, cluster.passwordOf(role)]),
  );

export const principals = Object.fromEntries(
  KAFKA_ROLES.map((role) => [role, `User:${role}`]),
) as Record<KafkaRole, string>;

export async function startSecureCluster(): Promise<SecureCluster> {
  const folder = mkdtempSync(join(tmpdir(), "sealstream-secure-"));
  const authority = createAuthority(folder, "authority");
  const other = createAuthority(folder, "other-authority");
  const passwordOf = (user: string): string => `password-of-${user}`;
  const cluster = await startEmbeddedCluster({
    nodes: 1,
    cacheDir: join(import.meta.dirname, "../../build/kafka"),
    dataDir: null,
    environment: process.env,
    onProgress: () => undefined,
    security: {
      keyStoreFile: keyStoreOf(folder, issue(folder, "broker", authority)),
      trustStoreFile: authority.certificateFile,
      nodePrincipal: "User:CN=broker",
      clients: "sasl-ssl",
      mechanisms: ["SCRAM-SHA-512", "OAUTHBEARER"],
      users: [ADMIN, STRANGER, ...KAFKA_ROLES].map((name) => ({
        name,
        password: passwordOf(name),
      })),
      superUsers: [`User:${ADMIN}`],
    },
  }).catch((error: unknown) => {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  });
  const ca = readFileSync(authority.certificateFile, "utf8");
  return {
    brokers: cluster.brokers,
    folder,
    caFile: authority.certificateFile,
    ca,
    otherCa: readFileSync(other.certificateFile, "utf8"),
    passwordOf,
    options: (user, overrides = {}) => ({
      brokers: cluster.brokers,
      clientId: "test",
      compression: "zstd",
      sessionTimeoutMs: 6_000,
      transactionTimeoutMs: 15_000,
      logger: silentLogger,
      tls: { ca, certificate: null, privateKey: null },
      sasl: { mechanism: "scram-sha-512", username: user, password: passwordOf(user) },
      ...overrides,
    }),
    async stop() {
      await cluster.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
