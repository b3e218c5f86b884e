/** A broker in a container by testcontainers: the last of the three ways, for machines with an engine but no Java. */
import type { BrokerHandle, BrokerOptions } from "./broker.ts";

/** Same version as the embedded broker. */
const IMAGE = "apache/kafka:4.3.1";
/** Port of the PLAINTEXT listener that testcontainers maps to the host. */
const CONTAINER_PORT = 9093;

/** @throws whatever testcontainers throws when there is no container engine (it finds out within milliseconds) */
export async function startContainerBroker(options: BrokerOptions): Promise<BrokerHandle> {
  // Because the package is an optional peer that a cluster deployment does not install.
  const { KafkaContainer } = await import("@testcontainers/kafka");
  options.onProgress(`starting ${IMAGE} in a container`);
  const container = await new KafkaContainer(IMAGE)
    .withEnvironment({
      KAFKA_AUTO_CREATE_TOPICS_ENABLE: "false",
      KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS: "0",
    })
    .start();
  return {
    brokers: [`${container.getHost()}:${container.getMappedPort(CONTAINER_PORT)}`],
    kind: "container",
    logFile: null,
    stop: async () => {
      await container.stop();
    },
  };
}
