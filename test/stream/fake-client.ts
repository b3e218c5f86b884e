/** A Kafka whose logs are all empty: lanes start, call their stage, and wait. */
import type { Stage, StepResult } from "../../pipeline/stream/contract.ts";
import type { KafkaClient, LaneProducer, PartitionReader } from "../../pipeline/stream/port.ts";

const done = (): Promise<void> => Promise.resolve();

export const idleReader: PartitionReader = {
  fetch: () => new Promise(() => undefined),
  position: () => 0,
  close: done,
};

export const idleProducer: LaneProducer = {
  begin: done,
  send: done,
  sendOffset: done,
  commit: done,
  abort: done,
  close: done,
};

export function fakeClient(overrides: Partial<KafkaClient> = {}): KafkaClient {
  return {
    describeTopics: () => Promise.resolve([]),
    listTopics: () => Promise.resolve([]),
    createTopics: () => Promise.resolve([]),
    offsets: () => Promise.resolve({ earliest: 0, latest: 0 }),
    committedOffset: () => Promise.resolve(null),
    groupMembers: () => Promise.resolve([]),
    createReader: () => Promise.resolve(idleReader),
    createLaneProducer: () => Promise.resolve(idleProducer),
    createPlainProducer: () => Promise.resolve({ send: done, close: done }),
    joinGroup: () => Promise.resolve({ close: done }),
    close: done,
    ...overrides,
  };
}

export const NOTHING_FINAL: StepResult<null> = {
  outputs: [],
  outcomes: [],
  state: null,
  consumedTo: null,
  wakeAtMs: null,
};

/** A stage without state whose every lane does the same. */
export function fakeStage(
  process: (lane: number, nowMs: number) => StepResult<null> | Promise<StepResult<null>>,
): Stage {
  return {
    name: "encrypt",
    bounds: { maxRecords: 10, maxBytes: 1_000 },
    openLane: (lane) => ({
      restore: () => null,
      process: (_records, _state, nowMs) => process(lane, nowMs),
    }),
  };
}

/** Lets everything happen that waits for no timer. */
export function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
