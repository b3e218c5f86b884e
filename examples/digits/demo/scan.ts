/**
 * Looks for every e-mail, phone, note and name of the input wherever it must not be: all topics but `raw`, everything
 * the stages printed, their metrics, and every file they were given or made.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { StreamRecord } from "../../../pipeline/stream/contract.ts";
import type { KafkaClient } from "../../../pipeline/stream/port.ts";
import { readTopic } from "../../../pipeline/stream/tail.ts";
import { createMarkerScan, type MarkerHit } from "../marker-scan.ts";
import { type DigitRecord, markersOf } from "../records.ts";

export interface ScanPlan {
  readonly client: KafkaClient;
  readonly pipeline: string;
  readonly partitions: number;
  readonly records: readonly DigitRecord[];
  readonly folders: readonly string[];
  readonly metrics: readonly string[];
}

export interface ScanResult {
  readonly hits: readonly MarkerHit[];
  readonly markerHits: number;
  readonly bytesScanned: number;
  readonly markers: number;
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
  const names = await plan.client.listTopics(`${plan.pipeline}.`);
  for (const topic of names.filter((name) => name !== `${plan.pipeline}.raw`)) {
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
  for (const folder of plan.folders) {
    for (const file of await filesBelow(folder)) {
      scan.scan(file, await readFile(file));
    }
  }
  for (const [index, text] of plan.metrics.entries()) {
    scan.scan(`metrics ${index}`, Buffer.from(text));
  }
  return {
    hits: scan.hits(),
    markerHits: scan.total,
    bytesScanned: scan.bytesScanned,
    markers: markers.size,
  };

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
