/**
 * Looks for every e-mail, phone, note and name of the input wherever it must not be: all topics but `raw` (dead letters,
 * `records` and changelogs among them), everything the stages printed, their metrics, and every file they were given or
 * made: keys, and temporary files that were removed again.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { StreamRecord } from "../../../pipeline/stream/contract.ts";
import type { KafkaClient } from "../../../pipeline/stream/port.ts";
import { readTopic } from "../../../pipeline/stream/tail.ts";
import {
  changelogTopicName,
  deadTopicName,
  STAGE_INPUT,
  STAGES,
  TOPICS,
  type TopicRole,
  topicName,
} from "../../../schemas/topics.ts";
import { createMarkerScan, type MarkerHit } from "../marker-scan.ts";
import { type DigitRecord, markersOf } from "../records.ts";

export interface ScanPlan {
  readonly client: KafkaClient;
  readonly pipeline: string;
  readonly partitions: number;
  readonly records: readonly DigitRecord[];
  readonly folders: readonly string[];
  /** Files that were seen while the stages ran (watch.ts). */
  readonly seen?: ReadonlyMap<string, Uint8Array | null> | undefined;
  readonly metrics: readonly string[];
}

export interface ScanResult {
  readonly hits: readonly MarkerHit[];
  readonly markerHits: number;
  readonly bytesScanned: number;
  readonly markers: number;
  /** Topics, and files that were there or were seen. */
  readonly places: readonly string[];
}

/** Topics that a pipeline has whatever flows: a scan that does not find them looks in the wrong place. */
function expectedTopics(pipeline: string): string[] {
  // Because Object.keys does not say that these are the roles.
  const roles = (Object.keys(TOPICS) as TopicRole[]).filter((role) => role !== "raw");
  return [
    ...roles.map((role) => topicName(pipeline, role)),
    ...STAGES.map((stage) => deadTopicName(pipeline, STAGE_INPUT[stage])),
    ...STAGES.map((stage) => changelogTopicName(pipeline, stage)),
  ];
}

/** A value as it stands, and as it stands inside a JSON string. */
function variants(value: string): string[] {
  const escaped = JSON.stringify(value).slice(1, -1);
  return escaped === value ? [value] : [value, escaped];
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** Scans everything; also makes sure that the scan would find what it looks for. */
export async function scanForMarkers(plan: ScanPlan): Promise<ScanResult> {
  const markers = new Set(plan.records.flatMap(({ form }) => markersOf(form)).flatMap(variants));
  assertFindsPlanted([...markers]);
  const scan = createMarkerScan(markers);
  const places: string[] = [];
  const names = await plan.client.listTopics(`${plan.pipeline}.`);
  for (const topic of names.filter((name) => name !== topicName(plan.pipeline, "raw"))) {
    places.push(topic);
    const found = (await plan.client.describeTopics([topic])).at(0);
    for (let partition = 0; partition < (found?.partitions ?? 0); partition += 1) {
      await readTopic({
        client: plan.client,
        topic,
        partition,
        apply: (record) => feed(topic, record),
      });
    }
  }
  const missed = expectedTopics(plan.pipeline).filter((topic) => !places.includes(topic));
  if (missed.length > 0) throw new Error(`the marker scan did not find ${missed.join(", ")}`);
  for (const folder of plan.folders) {
    for (const file of await filesBelow(folder)) scanFile(file, await readFile(file));
  }
  for (const [file, bytes] of plan.seen ?? []) {
    if (bytes === null) throw new Error(`${file} was gone before the marker scan could read it`);
    scanFile(file, bytes);
  }
  for (const [index, text] of plan.metrics.entries()) {
    scan.scan(`metrics ${index}`, Buffer.from(text));
  }
  return {
    hits: scan.hits(),
    markerHits: scan.total,
    bytesScanned: scan.bytesScanned,
    markers: markers.size,
    places,
  };

  function scanFile(file: string, bytes: Uint8Array): void {
    places.push(file);
    scan.scan(file, bytes);
    scan.scan(`name of ${file}`, Buffer.from(file));
  }

  function feed(topic: string, record: StreamRecord): void {
    for (const bytes of [record.key, record.value, ...Object.values(record.headers)]) {
      if (bytes !== null) {
        scan.scan(topic, bytes);
      }
    }
    for (const name of Object.keys(record.headers)) {
      scan.scan(topic, Buffer.from(name));
    }
  }
}

/** A scan that finds nothing proves nothing unless a marker planted on purpose is found. */
function assertFindsPlanted(markers: readonly string[]): void {
  const scan = createMarkerScan(markers);
  const planted = Buffer.from(markers[0] ?? "");
  const places = [
    planted,
    Buffer.from(planted.toString("hex")),
    Buffer.from(Buffer.concat([Buffer.from("x"), planted]).toString("base64")),
  ];
  for (const [index, bytes] of places.entries()) {
    scan.scan(`planted ${index}`, bytes);
  }
  if (planted.length === 0 || scan.hits().length !== places.length) {
    throw new Error("the marker scan misses a marker that was planted on purpose");
  }
}
