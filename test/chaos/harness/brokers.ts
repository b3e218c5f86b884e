/** Faults of brokers: one at a time, and the next only when every replica is in sync again. */
import { setTimeout as sleep } from "node:timers/promises";
import kafkajs, { type Admin } from "kafkajs";
import type { ClusterHandle } from "../../../pipeline/stream/broker-cluster.ts";
import type { BrokerFaultKind } from "./fault-plan.ts";

const INTERNAL_TOPICS = ["__consumer_offsets", "__transaction_state"];
const POLL_MS = 500;
const HEAL_TIMEOUT_MS = 180_000;

export interface Brokers {
  /** Topics whose replicas are not all in sync; null when the cluster does not answer. */
  behind(): Promise<readonly string[] | null>;
  /** Does it, undoes it, and resolves when all replicas are in sync. @throws Error when they never are */
  fault(kind: BrokerFaultKind, node: number, holdMs: number): Promise<void>;
  /** Undoes what an interrupted fault left. */
  heal(): Promise<void>;
  close(): Promise<void>;
}

export function createBrokers(cluster: ClusterHandle, topics: () => readonly string[]): Brokers {
  const kafka = new kafkajs.Kafka({
    brokers: [...cluster.brokers],
    logLevel: kafkajs.logLevel.NOTHING,
    connectionTimeout: 1_000,
    requestTimeout: 5_000,
    retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 3 },
  });
  let admin: Admin | null = null;

  async function behind(): Promise<readonly string[] | null> {
    try {
      if (admin === null) {
        admin = kafka.admin();
        await admin.connect();
      }
      const wanted = [...topics(), ...INTERNAL_TOPICS];
      const { topics: found } = await admin.fetchTopicMetadata({ topics: wanted });
      return found
        .filter(({ partitions }) =>
          partitions.some(({ isr, replicas }) => isr.length < replicas.length),
        )
        .map(({ name }) => name);
    } catch {
      // Because a node may be down or stopped; whoever waits asks again.
      await admin?.disconnect().catch(() => undefined);
      admin = null;
      return null;
    }
  }

  async function untilInSync(): Promise<void> {
    const deadline = performance.now() + HEAL_TIMEOUT_MS;
    for (;;) {
      const late = await behind();
      if (late !== null && late.length === 0) {
        return;
      }
      if (performance.now() > deadline) {
        throw new Error(
          `replicas are not in sync after ${HEAL_TIMEOUT_MS} ms: ${late?.join(", ")}`,
        );
      }
      await sleep(POLL_MS);
    }
  }

  async function heal(): Promise<void> {
    for (const node of cluster.nodes) {
      node.kill("SIGCONT");
      if (node.pid() === null) {
        await node.start();
      }
    }
    await untilInSync();
  }

  return {
    behind,
    async fault(kind, id, holdMs) {
      const node = cluster.nodes.find((candidate) => candidate.id === id);
      if (node === undefined) {
        throw new Error(`there is no node ${id}`);
      }
      if (kind === "broker-restart") {
        await node.stop();
      } else {
        node.kill(kind === "broker-kill" ? "SIGKILL" : "SIGSTOP");
      }
      await sleep(holdMs);
      await heal();
    },
    heal,
    close: async () => admin?.disconnect(),
  };
}
