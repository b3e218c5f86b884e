/** A plain producer after its sender's death: the calls that find it dead share one new producer id, and keep their order. */
import kafkajs from "kafkajs";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { SealstreamError } from "../../pipeline/errors.ts";
import type { KafkajsAdmin } from "../../pipeline/stream/kafkajs-admin.ts";
import { KafkajsLink } from "../../pipeline/stream/kafkajs-link.ts";
import { createPlainProducer } from "../../pipeline/stream/kafkajs-producer.ts";
import type { PlainProducer } from "../../pipeline/stream/port.ts";
import type { WireRequest } from "../../pipeline/stream/wire/request-writer.ts";
import { silentLogger } from "../lib/kafka.ts";
import { settled } from "./fake-client.ts";
import { FakeLink } from "./fake-link.ts";

const TOPIC = "topic";
const MESSAGE_TOO_LARGE = 10;
/** InitProducerId. */
const REGISTER = 22;

let link: FakeLink;
/** Registrations of a producer, to be answered by hand. */
let registrations: PromiseWithResolvers<unknown>[];
let producer: PlainProducer;

const partitions = [{ partitionId: 0, leader: 1 }];
// Because a plain producer asks for a topic's partitions and nothing else.
const admin = {
  ask: (use: (on: unknown) => Promise<unknown>) =>
    use({ fetchTopicMetadata: () => Promise.resolve({ topics: [{ name: TOPIC, partitions }] }) }),
} as unknown as KafkajsAdmin;

const send = (value: string) =>
  producer.send(TOPIC, [{ key: null, value: Buffer.from(value), partition: 0 }]);

const register = (index: number) =>
  registrations[index]?.resolve({ errorCode: 0, producerId: BigInt(index), producerEpoch: 0 });

/** What was written, as the number of the registration and the sequence under it. */
const written = () => link.asked.map(({ producerId, sequence }) => `${producerId}/${sequence}`);

beforeEach(async () => {
  link = new FakeLink(TOPIC, null);
  registrations = [];
  const { prototype } = KafkajsLink;
  vi.spyOn(prototype, "clientId", "get").mockReturnValue(link.clientId);
  vi.spyOn(prototype, "anyBroker").mockImplementation(() => link.leader());
  vi.spyOn(prototype, "leader").mockImplementation(() => link.leader());
  vi.spyOn(prototype, "ask").mockImplementation((connection, request: WireRequest) => {
    if (request.api.key !== REGISTER) {
      return link.ask(connection, request);
    }
    const registration = Promise.withResolvers<unknown>();
    registrations.push(registration);
    return registration.promise;
  });
  const creating = createPlainProducer(new kafkajs.Kafka({ brokers: ["none"] }), admin, {
    brokers: [],
    clientId: link.clientId,
    compression: "none",
    sessionTimeoutMs: 6_000,
    transactionTimeoutMs: 15_000,
    logger: silentLogger,
  });
  await settled();
  register(0);
  producer = await creating;
});

afterEach(() => {
  vi.restoreAllMocks();
});

/** A broker's refusal that nobody can mend by asking again. */
async function killSender(): Promise<void> {
  const refused = expect(send("large")).rejects.toMatchObject({ code: "limit-exceeded" });
  await settled();
  link.asked.at(-1)?.answer(MESSAGE_TOO_LARGE);
  await refused;
}

/** Answers whatever is written, until nothing is. */
async function acknowledgeAll(): Promise<void> {
  for (let at = 0; at < link.asked.length; at += 1) {
    link.asked[at]?.answer(0);
    await settled();
  }
}

it("shares one new producer id among all calls that find its sender dead, in their order", async () => {
  await killSender();
  const sends = ["a", "b", "c"].map(send);
  await settled();
  expect(registrations).toHaveLength(2);
  register(1);
  await settled();
  sends.push(send("d"));
  await acknowledgeAll();
  await Promise.all(sends);
  expect(registrations).toHaveLength(2);
  expect(written()).toEqual(["0/0", "1/0", "1/1", "1/2", "1/3"]);
});

it("asks anew for a producer id when the last attempt failed, which fails the calls that shared it", async () => {
  await killSender();
  const sends = [send("a"), send("b")];
  const failed = Promise.all(sends.map((sent) => expect(sent).rejects.toThrow("No rights.")));
  await settled();
  registrations[1]?.reject(new SealstreamError("access-denied", "No rights."));
  await failed;
  const last = send("c");
  await settled();
  register(2);
  await settled();
  await acknowledgeAll();
  await last;
  expect(registrations).toHaveLength(3);
  expect(written()).toEqual(["0/0", "2/0"]);
});

it("has one producer id also for a call that comes at the very moment of the revival", async () => {
  for (let ticks = 0; ticks < 20; ticks += 1) {
    await killSender();
    const before = registrations.length;
    const sends = [send("a")];
    await settled();
    register(before);
    for (let tick = 0; tick < ticks; tick += 1) {
      await Promise.resolve();
    }
    sends.push(send("b"));
    await settled();
    for (let index = before + 1; index < registrations.length; index += 1) {
      register(index);
    }
    await settled();
    await acknowledgeAll();
    await Promise.all(sends);
    expect(registrations, `${ticks} ticks`).toHaveLength(before + 1);
  }
});
