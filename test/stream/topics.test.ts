/** How many replicas must have a record before Kafka calls it written: the topics' own setting, not the broker's. */
import { describe, expect, it } from "vitest";
import { serverProperties } from "../../pipeline/stream/broker-properties.ts";
import { plannedTopics } from "../../pipeline/stream/topics.ts";

const planned = (replicationFactor: number) =>
  plannedTopics({ pipeline: "p", partitions: 2, replicationFactor });

describe("a pipeline's topics", () => {
  it("want every record on two disks where there are three copies or more", () => {
    for (const replicationFactor of [3, 4, 5]) {
      const topics = planned(replicationFactor);
      expect(topics.length).toBeGreaterThan(15);
      for (const topic of topics) {
        expect(topic, topic.name).toMatchObject({
          replicationFactor,
          config: { "min.insync.replicas": "2" },
        });
      }
    }
  });

  it("leave it to the cluster with one copy, or with two, of which either may be away", () => {
    for (const replicationFactor of [1, 2]) {
      for (const { name, config } of planned(replicationFactor)) {
        expect(config, name).not.toHaveProperty(["min.insync.replicas"]);
      }
    }
  });

  it("are kept as their role says, however many copies there are", () => {
    for (const replicationFactor of [1, 3]) {
      const configs = new Map(planned(replicationFactor).map(({ name, config }) => [name, config]));
      expect(configs.get("p.raw")).toMatchObject({ "cleanup.policy": "delete" });
      expect(configs.get("p.ledger")).toMatchObject({ "retention.ms": "-1" });
      expect(configs.get("p.models")).toMatchObject({ "cleanup.policy": "compact" });
      expect(configs.get("p.train.changelog")).toMatchObject({ "cleanup.policy": "compact" });
    }
  });
});

describe("an embedded cluster", () => {
  const node = (id: number) => ({ id, ports: { client: id, controller: id, internal: id } });

  it("does not ask for two replicas in the pipeline's place, so that its tests see whether the topics do", () => {
    const nodes = [node(1), node(2), node(3)] as const;
    const lines = serverProperties({ node: nodes[0], nodes, dataDir: "/data", security: null });
    expect(lines).not.toMatch(/^min\.insync\.replicas=/m);
    expect(lines).toMatch(/^transaction\.state\.log\.min\.isr=2$/m);
    expect(lines).toMatch(/^offsets\.topic\.replication\.factor=3$/m);
  });
});
