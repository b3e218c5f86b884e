/**
 * Whether a record came through although its letter lies there: its producer may have mended it and sent it again.
 *
 * Looked for by record id in `desensitized` and `examples`, all partitions. Packs name their records to the consumer
 * alone, so an unlabelled record is found in `desensitized`, where it lay on its way: it came through unless `encrypt`
 * refused it. Records that still wait in `raw` are waited for. Holds 16 bytes of a hash for each id it looks for.
 *
 * Limits, on purpose: ids that are produced again while a replay runs are not seen, and of records that retention has
 * removed only those older than the letter are taken for irrelevant (an id names one record).
 */
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { stageGroup, topicName } from "../../../schemas/topics.ts";
import type { UnwrapKey } from "../../crypto/wrap/types.ts";
import { SealstreamError } from "../../errors.ts";
import { readLetterHeaders } from "../../stream/dead-letter.ts";
import { deadNames, isReceipt, readThrough } from "../../stream/dead-letter-replay.ts";
import type { KafkaClient } from "../../stream/port.ts";
import { openLetter } from "./open-letter.ts";

export interface EvidenceOptions {
  readonly client: KafkaClient;
  readonly pipeline: string;
  readonly partitions: number;
  readonly patienceMs: number;
  readonly signal: AbortSignal;
}

/** Where an id was found. */
interface Place {
  readonly partition: number;
  readonly offset: number;
}

export interface Evidence {
  /**
   * Whether a record with this id came through.
   * @param own where the letter's record lies in `desensitized`; null for a letter of `raw`
   */
  cameThrough(id: string, own: Place | null): boolean;
  /** Records that may have expired unseen are all older than this; a letter that is older cannot be judged. */
  readonly completeSinceMs: number;
}

const CATCH_UP_EVERY_MS = 200;
const CATCH_UP_PATIENCE_MS = 60_000;
/** Offsets at the end of a log that may be nothing but the markers of transactions. */
const MARKERS = 1_000;

/** Ids are held and compared as this. */
export function idHash(id: Uint8Array): string {
  return createHash("sha256").update(id).digest().toString("latin1", 0, 16);
}

/**
 * Waits until `desensitize` has taken all that lies in `raw` now.
 * @throws SealstreamError `state-mismatch` when it does not
 */
export async function awaitCaughtUp(options: EvidenceOptions): Promise<void> {
  const { client, pipeline, partitions, signal } = options;
  const topic = topicName(pipeline, "raw");
  const group = stageGroup(pipeline, "desensitize");
  for (let partition = 0; partition < partitions; partition += 1) {
    const { earliest, latest } = await client.offsets(topic, partition);
    for (let waitedMs = 0; ; waitedMs += CATCH_UP_EVERY_MS) {
      const at = (await client.committedOffset(group, topic, partition)) ?? earliest;
      if (!(await holdsRecords(options, { topic, partition, from: at, to: latest }))) break;
      if (waitedMs >= CATCH_UP_PATIENCE_MS || signal.aborted) {
        throw new SealstreamError(
          "state-mismatch",
          `Records wait in ${topic}/${partition} and may be those of dead letters, sent again: run desensitize until it has caught up, then replay.`,
        );
      }
      await sleep(CATCH_UP_EVERY_MS);
    }
  }
}

async function holdsRecords(
  { client, patienceMs }: EvidenceOptions,
  span: {
    readonly topic: string;
    readonly partition: number;
    readonly from: number;
    readonly to: number;
  },
): Promise<boolean> {
  if (span.to - span.from > MARKERS) return true;
  let found = false;
  await readThrough({
    ...span,
    client,
    patienceMs,
    apply: () => {
      found = true;
      return false;
    },
  });
  return found;
}

/** Looks for ids downstream. @param ids hashes of {@link idHash} */
export async function collectEvidence(
  options: EvidenceOptions,
  ids: ReadonlySet<string>,
  ownerKey: UnwrapKey,
): Promise<Evidence> {
  const found = new Map<string, Place[]>();
  const inExamples = new Set<string>();
  let completeSinceMs = Number.NEGATIVE_INFINITY;
  for (const role of ["desensitized", "examples"] as const) {
    const sinceMs = await scan(options, topicName(options.pipeline, role), (key, place) => {
      const id = idHash(key);
      if (!ids.has(id)) return;
      if (role === "examples") inExamples.add(id);
      else found.set(id, [...(found.get(id) ?? []), place]);
    });
    completeSinceMs = Math.max(completeSinceMs, sinceMs);
  }
  const refused = await refusedByEncrypt(options, [...found.values()].flat(), ownerKey);
  return {
    completeSinceMs,
    cameThrough(id, own) {
      if (inExamples.has(id)) return true;
      const places = found.get(id) ?? [];
      return own === null
        ? places.length > 0
        : places.some((place) => nameOf(place) !== nameOf(own) && !refused.has(nameOf(place)));
    },
  };
}

function nameOf({ partition, offset }: Place): string {
  return `${partition}/${offset}`;
}

/** Reads a topic; returns the time since when it is complete. */
async function scan(
  { client, partitions, patienceMs }: EvidenceOptions,
  topic: string,
  onKey: (key: Uint8Array, place: Place) => void,
): Promise<number> {
  let completeSinceMs = Number.NEGATIVE_INFINITY;
  for (let partition = 0; partition < partitions; partition += 1) {
    const { earliest } = await client.offsets(topic, partition);
    let firstMs = earliest > 0 ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
    await readThrough({
      client,
      topic,
      partition,
      patienceMs,
      apply: ({ key, offset, timestampMs }) => {
        firstMs = Math.min(firstMs, timestampMs);
        if (key !== null) onKey(key, { partition, offset });
        return undefined;
      },
    });
    if (earliest > 0) completeSinceMs = Math.max(completeSinceMs, firstMs);
  }
  return completeSinceMs;
}

/** Which of these places of `desensitized` hold a record that became a letter of `encrypt`. */
async function refusedByEncrypt(
  { client, pipeline, patienceMs }: EvidenceOptions,
  places: readonly Place[],
  key: UnwrapKey,
): Promise<ReadonlySet<string>> {
  const wanted = new Set(places.map(nameOf));
  const refused = new Set<string>();
  const { input, dead } = deadNames({ pipeline, stage: "encrypt" });
  for (const partition of new Set(places.map((place) => place.partition))) {
    await readThrough({
      client,
      topic: dead,
      partition,
      patienceMs,
      apply: (record) => {
        const place = { stage: "encrypt", topic: input, partition } as const;
        const headers = isReceipt(record) ? null : readLetterHeaders(record.headers, place);
        if (headers === null || !wanted.has(nameOf({ partition, offset: headers.offset }))) {
          return undefined;
        }
        const opened = openLetter({ pipeline, headers, value: record.value, key });
        if (opened.status !== "refused") refused.add(nameOf({ partition, offset: headers.offset }));
        return undefined;
      },
    });
  }
  return refused;
}
