/** Conformance cases of a client: membership of a consumer group. */
import { describe, expect, it } from "vitest";
import type { GroupMembership } from "../../pipeline/stream/port.ts";
import { expectNamed, freshName, type World } from "./client-conformance.ts";
import { until } from "./kafka.ts";

class Member {
  readonly assignments: (readonly number[])[] = [];
  readonly crashes: Error[] = [];
  #membership: GroupMembership | null = null;

  async join(world: World, group: string, topic: string): Promise<this> {
    this.#membership = await world.client().joinGroup({
      group,
      topic,
      onAssignment: (partitions) => this.assignments.push([...partitions].sort()),
      onCrash: (error) => this.crashes.push(error),
    });
    return this;
  }

  /** What it was last given; null before the first join is complete. */
  get owned(): readonly number[] | null {
    return this.assignments.at(-1) ?? null;
  }

  async leave(): Promise<void> {
    await this.#membership?.close();
  }
}

/** Whether the members own every partition exactly once between them. */
function covers(members: readonly Member[], partitions: number): boolean {
  const owned = members.flatMap(({ owned: some }) => some ?? [Number.NaN]).sort((a, b) => a - b);
  return owned.length === partitions && owned.every((partition, index) => partition === index);
}

export function describeGroup(world: World): void {
  describe("group membership", () => {
    it("gives one member everything, shares with a second, and gives it back", async () => {
      const topic = await world.newTopic(4);
      const group = freshName("group");
      const first = await new Member().join(world, group, topic);
      await until("the first member owns all", () => covers([first], 4));
      const second = await new Member().join(world, group, topic);
      await until("both own all between them", () => covers([first, second], 4));
      expect(first.owned).toHaveLength(2);
      expect(second.owned).toHaveLength(2);
      await second.leave();
      await second.leave();
      await until("the first owns all again", () => covers([first], 4));
      await first.leave();
      expect([...first.crashes, ...second.crashes]).toEqual([]);
    });

    it("tells a member beyond the partitions that it has none, and it takes over", async () => {
      const topic = await world.newTopic(2);
      const group = freshName("group");
      const members: Member[] = [];
      for (let count = 0; count < 3; count += 1) {
        members.push(await new Member().join(world, group, topic));
      }
      const allTold = () => members.every(({ owned }) => owned !== null) && covers(members, 2);
      await until("three members share two partitions", allTold);
      const idle = members.filter(({ owned }) => owned?.length === 0);
      expect(idle).toHaveLength(1);
      const busy = members.find(({ owned }) => owned?.length === 1);
      await busy?.leave();
      const rest = members.filter((member) => member !== busy);
      await until("the idle one has taken over", () => covers(rest, 2));
      await Promise.all(rest.map((member) => member.leave()));
      expect(members.flatMap(({ crashes }) => crashes)).toEqual([]);
    });

    it("keeps groups apart: each has all partitions", async () => {
      const topic = await world.newTopic(2);
      const members = await Promise.all(
        [0, 1].map(() => new Member().join(world, freshName("group"), topic)),
      );
      await until("each owns all", () => members.every((member) => covers([member], 2)));
      await Promise.all(members.map((member) => member.leave()));
      for (const error of members.flatMap(({ crashes }) => crashes)) {
        expectNamed(error);
      }
    });

    it("is seen from outside: who is in it and has what, who stands by, and nobody at the end", async () => {
      const topic = await world.newTopic(2);
      const group = freshName("group");
      const seen = () => world.client().groupMembers(group, topic);
      expect(await seen()).toEqual([]);
      const members = [];
      for (let count = 0; count < 3; count += 1) {
        members.push(await new Member().join(world, group, topic));
      }
      await until("three members share two partitions", async () => {
        const owned = (await seen()).map(({ partitions }) => partitions.length);
        return owned.sort().join() === "0,1,1";
      });
      const found = await seen();
      expect(found.flatMap(({ partitions }) => partitions).sort()).toEqual([0, 1]);
      expect(new Set(found.map(({ id }) => id)).size).toBe(3);
      expect(found.every(({ host }) => host.includes("127.0.0.1"))).toBe(true);
      const others = await world.client().groupMembers(group, await world.newTopic(1));
      expect(others.flatMap(({ partitions }) => partitions)).toEqual([]);
      await Promise.all(members.map((member) => member.leave()));
      await until("it is empty", async () => (await seen()).length === 0);
    });

    it("commits nothing by itself", async () => {
      const topic = await world.newTopic(1);
      const group = freshName("group");
      const member = await new Member().join(world, group, topic);
      await until("it owns all", () => covers([member], 1));
      await member.leave();
      expect(await world.client().committedOffset(group, topic, 0)).toBeNull();
    });
  });
}
