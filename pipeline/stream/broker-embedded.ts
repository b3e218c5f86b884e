/** The embedded broker of `sealstream broker` and of tests: a cluster of one node, see `broker-cluster.ts`. */
import type { BrokerHandle, BrokerOptions } from "./broker.ts";
import { startEmbeddedCluster } from "./broker-cluster.ts";

/** Starts the embedded broker. @throws SealstreamError `broker-unavailable` */
export async function startEmbeddedBroker(options: BrokerOptions): Promise<BrokerHandle> {
  const { cacheDir, dataDir, port, environment, onProgress } = options;
  const cluster = await startEmbeddedCluster({
    ...{ nodes: 1, security: null, cacheDir, dataDir, port, environment, onProgress },
  });
  return {
    brokers: cluster.brokers,
    kind: "embedded",
    logFile: cluster.nodes.at(0)?.logFile ?? null,
    stop: () => cluster.stop(),
  };
}
