/** A broker of the list that takes connections and closes them, as a dead one behind a balancer does. */
import { createServer, type Server } from "node:net";
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import { connect, freshPipeline, readAll } from "../lib/kafka.ts";

/** Each begins with another broker by chance: all of them with the dead one is one in a million. */
const MOST_TRIES = 20;

let dead: Server;
let address: string;

beforeAll(async () => {
  dead = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => dead.listen(0, "127.0.0.1", resolve));
  const bound = dead.address();
  address = typeof bound === "object" ? `127.0.0.1:${bound?.port}` : "";
});

afterAll(() => {
  dead.close();
});

/** Asks again, as whoever starts stages and commands does: each time another broker may be the first. */
async function patiently<T>(ask: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await ask();
    } catch (error) {
      if (tries === MOST_TRIES) throw error;
    }
  }
}

it("does not keep a client from the others, although it stands first", async () => {
  const client = await connect([address, ...inject("brokers")]);
  const topic = freshPipeline("first-broker");
  const planned = { name: topic, partitions: 1, replicationFactor: 1, config: {} };
  await patiently(() => client.createTopics([planned]));
  const producer = await client.createPlainProducer();
  await producer.send(topic, [{ key: null, value: Buffer.from("1"), partition: 0 }]);
  const [records] = await readAll(client, topic, 1);
  expect(records?.map(({ value }) => String(value && Buffer.from(value)))).toEqual(["1"]);
  await producer.close();
  await client.close();
});
