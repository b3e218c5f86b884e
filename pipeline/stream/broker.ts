/**
 * A real Apache Kafka anywhere: the brokers named by configuration, else an embedded one, else a container.
 *
 * Never an imitation of Kafka. If none of the three can be had, one message names all three ways.
 * Knows no environment: what `KAFKA_BROKERS` says is handed in.
 */
import { SealstreamError } from "../errors.ts";
import { startContainerBroker } from "./broker-container.ts";
import { startEmbeddedBroker } from "./broker-embedded.ts";

export interface BrokerHandle {
  /** `host:port` each. */
  readonly brokers: readonly string[];
  readonly kind: "external" | "embedded" | "container";
  /** Where its log is, if it is ours. */
  readonly logFile: string | null;
  /** Ends a broker that was started here; does nothing to an external one. */
  stop(): Promise<void>;
}

export interface BrokerOptions {
  /** Brokers named by the pipeline file or `KAFKA_BROKERS`; empty: start one. */
  readonly brokers: readonly string[];
  /** Folder that keeps the downloaded jars between runs. */
  readonly cacheDir: string;
  /** Folder for this broker's data and log; made if missing. `null`: a fresh one, removed at the end. */
  readonly dataDir: string | null;
  /** Port of the first listener; null: any free one. */
  readonly port: number | null;
  /** Environment for the processes that are started (PATH, JAVA_HOME, Maven's settings). */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly onProgress: (message: string) => void;
}

/**
 * Opens a broker.
 * @throws SealstreamError `broker-unavailable` with one sentence that names the three ways
 */
export async function openBroker(options: BrokerOptions): Promise<BrokerHandle> {
  if (options.brokers.length > 0) {
    return {
      brokers: options.brokers,
      kind: "external",
      logFile: null,
      stop: () => Promise.resolve(),
    };
  }
  let embedded: string;
  try {
    return await startEmbeddedBroker(options);
  } catch (error) {
    embedded = describe(error);
    options.onProgress(`no embedded broker: ${embedded}`);
  }
  try {
    return await startContainerBroker(options);
  } catch (error) {
    throw new SealstreamError(
      "broker-unavailable",
      `No Kafka broker: set KAFKA_BROKERS to a running one, or install Java 17 and Maven for the embedded one (${embedded}), or start a container engine such as Docker (${describe(error)}).`,
    );
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.message.split("\n")[0] ?? error.name) : "unknown failure";
}
