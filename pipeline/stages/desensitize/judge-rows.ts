/**
 * Runs raw records through the desensitize plugin: what leaves of each, or why it is refused.
 *
 * It never builds an outgoing record itself: value and key are the plugin's bytes, the raw key and headers go nowhere.
 * Records that the plugin let pass are checked against the rest of their JSON Schema, where it has such a rest.
 */
import { MAX_VALUE_BYTES } from "../../../schemas/topics.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import type {
  Headers,
  Outcome,
  OutputRecord,
  Reason,
  StreamRecord,
} from "../../stream/contract.ts";
import { type PluginResult, valueAt } from "../../wasm/columns.ts";
import type { PluginHost } from "../../wasm/host.ts";
import { type PluginChain, reasonOf } from "./plugin-chain.ts";
import { encodePosition, needsPositions } from "./positions.ts";
import type { RecordSchema } from "./record-schema.ts";
import type { SubjectLanes } from "./subject-lanes.ts";

const utf8 = new TextDecoder();

/** What leaves of a record: views of what the plugin wrote. */
export interface Passed {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** Observed values (observed.ts), where records are grouped. */
  readonly notes: Uint8Array | null;
}

/** What became of a record: a reason why it is refused, or what leaves of it. */
export type Judged = Reason | Passed;

export function isRefusal<T extends object>(what: Reason | T): what is Reason {
  return typeof what === "string";
}

/** The headers that leave where nothing is to be said of a record. */
const NONE = {};

/**
 * What a step does with the first of the records that were judged: they leave with the plugin's key and value, or have
 * an outcome.
 * @param headers of every record that leaves: none of its own
 */
export function settle(
  records: readonly { readonly offset: number }[],
  judged: readonly (Reason | { readonly key: Uint8Array; readonly value: Uint8Array })[],
  headers: Headers = NONE,
): { outputs: OutputRecord[]; outcomes: Outcome[] } {
  const outputs: OutputRecord[] = [];
  const outcomes: Outcome[] = [];
  // A plain loop, here and below: this runs for every record, beside what writes to Kafka.
  for (let i = 0; i < judged.length; i++) {
    const what = judged[i] ?? "plugin-failed";
    if (!isRefusal(what)) {
      outputs.push({ role: "desensitized", key: what.key, value: what.value, headers });
      continue;
    }
    const kind = what === "dropped" ? "drop" : "dead-letter";
    outcomes.push({ offset: records[i]?.offset ?? -1, kind, reason: what });
  }
  return { outputs, outcomes };
}

export interface RowJudge {
  /** The user's own plugins, which come before the rules. */
  readonly plugins: PluginChain;
  readonly host: PluginHost;
  readonly schema: RecordSchema;
  readonly spec: PipelineSpec;
  /** Null where `raw` is not partitioned by the subject. */
  readonly subjects: SubjectLanes | null;
  /** Null: records of no lane in particular, which are refused by nobody for where they lie. */
  readonly lane: number | null;
}

/** Why a record does not even reach the plugin; `null`: it does. */
function refusedUnread(record: StreamRecord, maxBytes: number): Reason | null {
  if (record.value === null) return "tombstone";
  return record.value.length > maxBytes ? "too-large" : null;
}

/** Whether the rest of the schema accepts a record that the plugin has found to be JSON. */
function fitsSchema(schema: RecordSchema, value: Uint8Array): boolean {
  if (schema.validate === null) return true;
  return schema.validate(JSON.parse(utf8.decode(value)));
}

/** Why a row is refused that has no output: this plugin drops no rows. */
function refusalOf(code: number): Reason {
  const reason = reasonOf(code);
  return reason === "dropped" ? "plugin-failed" : reason;
}

/** Pairs every row with its output or the reason why it has none. */
function pairRows(
  values: readonly Uint8Array[],
  result: PluginResult,
  schema: RecordSchema,
): Judged[] {
  const [keys, outputs, notes] = result.columns;
  const { status, rowIndex } = result;
  const judged: Judged[] = Array.from(status, refusalOf);
  for (let i = 0; i < rowIndex.length; i++) {
    const row = rowIndex[i] ?? 0;
    const key = keys === undefined ? null : valueAt(keys, i);
    const value = outputs === undefined ? null : valueAt(outputs, i);
    const raw = values[row];
    if (key === null || value === null || raw === undefined) continue;
    if (!fitsSchema(schema, raw)) judged[row] = "schema";
    else if (value.length > MAX_VALUE_BYTES) judged[row] = "too-large";
    else judged[row] = { key, value, notes: notes === undefined ? null : valueAt(notes, i) };
  }
  return judged;
}

/** Refuses what passed and has no subject, or lies in another lane than its subject's. */
function placeRows(rows: Judged[], { subjects, lane }: RowJudge): Judged[] {
  if (subjects === null) return rows;
  return rows.map((what) => {
    if (isRefusal(what)) return what;
    const own = subjects.laneOf(what.notes);
    if (isReason(own)) return own;
    return lane === null || own === lane ? what : "wrong-partition";
  });
}

function isReason(lane: number | Reason): lane is Reason {
  return typeof lane === "string";
}

/** What became of each record, in order. */
export async function judgeRecords(
  records: readonly StreamRecord[],
  judge: RowJudge,
): Promise<Judged[]> {
  const { plugins, host, schema, spec, lane } = judge;
  const { maxBytes } = spec.record;
  const judged = new Array<Judged>(records.length).fill("plugin-failed");
  const given = await plugins.run(
    records.map((record, i) => {
      const refusal = refusedUnread(record, maxBytes);
      if (refusal !== null) judged[i] = refusal;
      return refusal === null ? record.value : null;
    }),
  );
  const withPositions = needsPositions(spec.desensitize);
  const values: Uint8Array[] = [];
  const positions: Uint8Array[] = [];
  /** Which record each row is. */
  const places: number[] = [];
  for (let i = 0; i < given.length; i++) {
    const value = given[i] ?? null;
    if (value === null) continue;
    if (typeof value === "string") {
      judged[i] = value;
      continue;
    }
    values.push(value);
    places.push(i);
    if (withPositions) positions.push(encodePosition(lane ?? 0, records[i]?.offset ?? 0));
  }
  if (values.length === 0) return judged;
  const columns = withPositions ? [values, positions] : [values];
  const paired = pairRows(values, await host.transform(columns, values.length), schema);
  const rows = placeRows(paired, judge);
  if (rows.length === records.length) return rows;
  for (let row = 0; row < places.length; row++) {
    judged[places[row] ?? 0] = rows[row] ?? "plugin-failed";
  }
  return judged;
}
