/**
 * Opens the Kafka client that `kafka.client` names, and says what every client is opened with.
 *
 * Each client is loaded when it is asked for, so that nobody needs the library of the other. Must not know either
 * library itself, nor read files or the environment: certificates and passwords arrive resolved.
 */
import type { Compression, KafkaClient, Logger } from "./port.ts";

export type ClientName = "kafkajs" | "confluent";

/** PEM text, not paths. */
export interface TlsOptions {
  /** Certificates to trust instead of the system's. */
  readonly ca: string | null;
  /** With `privateKey`: who we are. */
  readonly certificate: string | null;
  readonly privateKey: string | null;
}

export type SaslOptions =
  | {
      readonly mechanism: "plain" | "scram-sha-256" | "scram-sha-512";
      readonly username: string;
      readonly password: string;
    }
  | {
      readonly mechanism: "oauthbearer";
      /** A JWT that is valid now; asked for anew whenever a connection needs one. */
      readonly token: () => Promise<string>;
    };

export interface ClientOptions {
  readonly brokers: readonly string[];
  readonly clientId: string;
  readonly compression: Compression;
  readonly sessionTimeoutMs: number;
  readonly transactionTimeoutMs: number;
  readonly logger: Logger;
  /** Unless given or null, the connection is not encrypted. */
  readonly tls?: TlsOptions | null;
  /** Unless given or null, the connection is anonymous or known by its certificate. */
  readonly sasl?: SaslOptions | null;
}

/**
 * Connects to a cluster with the named client.
 * @throws SealstreamError `broker-unavailable` when no broker answers, `backend-unavailable` when the client's
 * library is not installed
 */
export async function openClient(name: ClientName, options: ClientOptions): Promise<KafkaClient> {
  switch (name) {
    case "kafkajs": {
      const { createKafkajsClient } = await import("./kafkajs-client.ts");
      return createKafkajsClient(options);
    }
    case "confluent": {
      const { createConfluentClient } = await import("./confluent-client.ts");
      return createConfluentClient(options);
    }
  }
}
