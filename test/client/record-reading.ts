/** Writes lanes of `records` with a real encrypt stage, and reads them as one of their readers. Must not: be a test. */
import {
  type OpenedRecord,
  openRecords,
  type RecordReaderOptions,
  type RefusedField,
} from "../../pipeline/client/records.ts";
import type { UnwrapKey } from "../../pipeline/crypto/wrap/types.ts";
import type { OutputRecord, StreamRecord } from "../../pipeline/stream/contract.ts";
import { record } from "../stages/encrypt/fixtures.ts";
import {
  FIELDS,
  keyEntries,
  type LaneOptions,
  openLane,
  readers,
  START,
  specWith,
} from "../stages/encrypt/record-world.ts";
import { createRecordLog, type Written, written } from "./record-log.ts";

export const person = (offset: number, more: Record<string, unknown> = {}): StreamRecord =>
  record(offset, { name: `name-${offset}`, diagnosis: offset, postcode: "10***", ...more });

export async function write(
  records: readonly StreamRecord[],
  options: LaneOptions = {},
  state = START,
) {
  const lane = await openLane(options);
  return lane.process(records, state, 0);
}

export interface Read {
  readonly records: readonly OpenedRecord[];
  readonly refused: readonly RefusedField[];
}

export async function read(
  outputs: readonly OutputRecord[],
  lanes: readonly Written[][],
  {
    reader = readers.support,
    ...change
  }: Partial<RecordReaderOptions> & { reader?: UnwrapKey } = {},
): Promise<Read> {
  const keys = [...keyEntries(), ...written(outputs, "keys")];
  const { client } = createRecordLog(keys, lanes);
  const refused: RefusedField[] = [];
  const records: OpenedRecord[] = [];
  const spec = specWith(FIELDS);
  const found = openRecords({
    ...{ client, spec, keys: [reader], follow: false, keyWaitMs: 0 },
    signal: new AbortController().signal,
    onRefused: (one) => refused.push(one),
    ...change,
  });
  for await (const one of found) records.push(one);
  return { records, refused };
}

/** The records of a lane in lane 2 of the four that the pipeline has. */
export const inLane = (records: Written[]): Written[][] => [[], [], records, []];

/** A copy of a written record with its JSON changed. */
export function forged(
  { key, value }: Written,
  change: (fields: Record<string, unknown>) => void,
): Written {
  const fields = JSON.parse(Buffer.from(value ?? []).toString()) as Record<string, unknown>;
  change(fields);
  return { key, value: Buffer.from(JSON.stringify(fields)) };
}

export const fieldsOf = (record: Written | undefined) =>
  JSON.parse(Buffer.from(record?.value ?? []).toString()) as Record<string, unknown>;
