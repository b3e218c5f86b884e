/**
 * Reads topic `records` as a downstream service: the fields that its key opens, and the names of those it does not.
 *
 * Every data key must come from the owner's zone and every value must stand in its own field, record and lane;
 * record-lane.ts judges. A data key that is not in `keys` yet is waited for, within a limit. Nothing flows back.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { topicName } from "../../schemas/topics.ts";
import { createKeyDirectory } from "../crypto/directory.ts";
import { hex } from "../crypto/key-handles.ts";
import type { AnyUnwrapKey } from "../crypto/wrap/types.ts";
import { SealstreamError } from "../errors.ts";
import { createFieldTree, type FieldTree } from "../features/field-tree.ts";
import type { PipelineSpec } from "../spec/pipeline-spec.ts";
import type { StreamRecord } from "../stream/contract.ts";
import type { KafkaClient } from "../stream/port.ts";
import { readTopic } from "../stream/tail.ts";
import { readLanes } from "./lanes.ts";
import {
  createRecordLane,
  type LaneInput,
  type OpenedRecord,
  type RecordLane,
  type RecordStep,
  type RefusedField,
} from "./record-lane.ts";

export type { OpenedRecord, RefusedField } from "./record-lane.ts";

export interface RecordReaderOptions {
  readonly client: KafkaClient;
  /** With `encrypt.records` and pinned zones. */
  readonly spec: Pick<PipelineSpec, "name" | "kafka" | "encrypt" | "zones" | "revoked">;
  /** The reader's private keys, of which the owner granted at least one. */
  readonly keys: readonly AnyUnwrapKey[];
  /** Keep waiting for more; else end at what is committed at the start. */
  readonly follow: boolean;
  readonly signal: AbortSignal;
  /** Called for each field, or whole record, that does not count, with the reason. */
  readonly onRefused?: ((refused: RefusedField) => void) | undefined;
  /** First offset of a lane; unless said, the first in the log. */
  readonly from?: ((lane: number) => number | null) | undefined;
  /** Highest sequence of a lane that was read before; what is not above it is refused as replayed. */
  readonly lastSequence?: ((lane: number) => number | null) | undefined;
  /**
   * How long a lane waits for data keys that are not in `keys` yet, in ms: for all of them together until one comes, since
   * anybody who may write to the topic can name keys that never will.
   */
  readonly keyWaitMs?: number | undefined;
}

const FETCH = { maxBytes: 8 * 1024 * 1024, maxWaitMs: 200 };
const KEY_WAIT_MS = 10_000;
/** Between two looks at `keys`. */
const LOOK_AGAIN_MS = 250;
/** Announced data keys remembered: 6 MB. One is made per lane start, audience and rotation. */
const MOST_ANNOUNCED = 65_536;
const DATA_KEY = /^data-key\/([0-9a-f]{32})$/;

/** `keys` as far as it was read. */
interface KeyView {
  findKey(kid: Uint8Array): ReturnType<ReturnType<typeof createKeyDirectory>["findDataKey"]>;
  isAnnounced(kid: Uint8Array): boolean;
  /** How many data keys were announced so far. */
  announcements(): number;
  /** While a service unwraps a data key. */
  isBusy(): boolean;
  /** Reads on to what is there at the call; one reading at a time. */
  refresh(): Promise<void>;
}

function createKeyView({ client, spec, keys }: RecordReaderOptions): KeyView {
  if (spec.zones === null) {
    throw new SealstreamError("key-missing", "The pipeline file pins no zone identities.");
  }
  const directory = createKeyDirectory({
    ...{ pipeline: spec.name, zones: spec.zones, revoked: spec.revoked },
    ...{ unwrapKeys: () => keys, blobPurposes: [] },
  });
  const announced = new Set<string>();
  let announcements = 0;
  let position: number | undefined;
  let reading: Promise<void> | null = null;

  async function read(): Promise<void> {
    await readTopic({
      client,
      topic: topicName(spec.name, "keys"),
      ...(position === undefined ? {} : { from: position }),
      // Entries prove themselves, and nobody's open transaction may hold them back.
      isolation: "uncommitted",
      apply({ key, value, offset }) {
        position = offset + 1;
        const name = DATA_KEY.exec(Buffer.from(key ?? []).toString("latin1"))?.[1];
        if (directory.apply(key, value) === "refused" || name === undefined) return;
        if (!announced.has(name)) announcements += 1;
        announced.add(name);
        const [oldest] = announced;
        if (announced.size > MOST_ANNOUNCED && oldest !== undefined) announced.delete(oldest);
      },
    });
  }

  return {
    findKey: (kid) => directory.findDataKey(kid, "records"),
    // While a key in a service is being asked, nobody knows whether it opens.
    isAnnounced: (kid) => announced.has(hex(kid)) && !directory.isBusy(),
    announcements: () => announcements,
    isBusy: () => directory.isBusy(),
    async refresh() {
      // A reading under way may have passed what came since; the one after it has not begun.
      await reading;
      reading ??= read().finally(() => {
        reading = null;
      });
      await reading;
    },
  };
}

/**
 * How long a lane still waits for keys that nobody has announced: all its records together, and anew once one has been.
 * Whoever may write to the topic can name as many such keys as it likes.
 */
interface LanePatience {
  /** Takes a wait of {@link LOOK_AGAIN_MS}, or says that there is none left. @param waitedMs for this record */
  takeWait(waitedMs: number): boolean;
}

function createLanePatience(view: KeyView, keyWaitMs: number): LanePatience {
  let leftMs = keyWaitMs;
  let announcements = view.announcements();
  return {
    takeWait(waitedMs) {
      if (view.announcements() !== announcements) {
        announcements = view.announcements();
        leftMs = keyWaitMs;
      }
      // What a service unwraps was announced, and comes or fails by itself.
      if (view.isBusy()) return waitedMs < keyWaitMs;
      if (leftMs <= 0) return false;
      leftMs -= LOOK_AGAIN_MS;
      return true;
    },
  };
}

/**
 * Judges a record; reads `keys` on while a data key is unknown, until the limit. It is read on at least once, which finds
 * every key that was announced before the record could be seen.
 */
async function judgeWithKeys(
  { believed, view, patience }: ReadingLane,
  record: LaneInput,
  signal: AbortSignal,
): Promise<RecordStep> {
  let step = believed.judge(record);
  for (let waitedMs = 0; step.waits && !signal.aborted; waitedMs += LOOK_AGAIN_MS) {
    await view.refresh();
    step = believed.judge(record);
    if (!step.waits || !patience.takeWait(waitedMs)) break;
    await sleep(LOOK_AGAIN_MS, undefined, { signal }).catch(() => undefined);
  }
  return step;
}

interface ReadingLane {
  readonly believed: RecordLane;
  readonly view: KeyView;
  readonly patience: LanePatience;
}

/** Committed records of a partition; without `follow` up to what is there at the start. */
async function* fetchRecords(
  { client, follow, signal }: RecordReaderOptions,
  topic: string,
  { lane, from }: { readonly lane: number; readonly from: number | null },
): AsyncGenerator<StreamRecord> {
  const { earliest, latest } = await client.offsets(topic, lane);
  const reader = await client.createReader(topic, lane, Math.max(from ?? earliest, earliest));
  try {
    while (!signal.aborted && (follow || reader.position() < latest)) {
      const before = reader.position();
      const fetched = await reader.fetch(FETCH);
      yield* fetched.records;
      if (!follow && fetched.nextOffset === before) {
        return;
      }
    }
  } finally {
    await reader.close();
  }
}

async function* readLane(
  options: RecordReaderOptions,
  lane: number,
  { view, tree }: { readonly view: KeyView; readonly tree: FieldTree },
): AsyncGenerator<OpenedRecord> {
  const { spec, signal } = options;
  const believed = createRecordLane({
    ...{ pipeline: spec.name, lane, tree, findKey: view.findKey, isAnnounced: view.isAnnounced },
    lastSequence: options.lastSequence?.(lane),
  });
  const patience = createLanePatience(view, options.keyWaitMs ?? KEY_WAIT_MS);
  const from = options.from?.(lane) ?? null;
  for await (const record of fetchRecords(options, topicName(spec.name, "records"), {
    lane,
    from,
  })) {
    const step = await judgeWithKeys({ believed, view, patience }, record, signal);
    if (signal.aborted) {
      return;
    }
    believed.settle(step);
    for (const refused of step.refused) {
      options.onRefused?.(refused);
    }
    if (step.record !== null) {
      yield step.record;
    }
  }
}

/**
 * Records of all lanes; in order within a lane. What was tampered with is named, not thrown.
 * @throws SealstreamError `spec-invalid` when the pipeline file has no `encrypt.records`, `key-missing` without zones
 * @example
 * ```ts
 * const keys = [createUnwrapKeyOf("reader", createPrivateKey(pem))];
 * for await (const { id, fields, sealed } of openRecords({ client, spec, keys, follow: true, signal })) {
 *   await store(id, fields);
 * }
 * ```
 */
export async function* openRecords(options: RecordReaderOptions): AsyncGenerator<OpenedRecord> {
  const { spec } = options;
  if (spec.encrypt.records === null) {
    throw new SealstreamError(
      "spec-invalid",
      "The pipeline file has no encrypt.records: no fields are shared.",
    );
  }
  const view = createKeyView(options);
  await view.refresh();
  const by = { view, tree: createFieldTree(spec.encrypt.records) };
  const lanes = Array.from({ length: spec.kafka.partitions }, (_, lane) =>
    readLane(options, lane, by),
  );
  yield* readLanes(lanes, options.follow);
}
