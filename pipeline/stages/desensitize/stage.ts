/**
 * The desensitize stage: raw records in, records without what may not leave out.
 *
 * Hands the raw values of a batch to the desensitize plugin in its worker and turns its statuses into outcomes. It
 * never builds an outgoing record itself: value and key are the plugin's bytes, the raw key and headers go nowhere.
 * Before that, values pass the user's own plugins (plugin-chain.ts): what those make is a raw value like any other.
 * Records that the plugin let pass are checked against the rest of their JSON Schema, where it has such a rest.
 */
import { MAX_VALUE_BYTES } from "../../../schemas/topics.ts";
import { SealstreamError } from "../../errors.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import type {
  LaneBounds,
  Outcome,
  OutputRecord,
  Reason,
  Stage,
  StepResult,
  StreamRecord,
} from "../../stream/contract.ts";
import { type PluginStatus, STATUS_NAMES } from "../../wasm/abi.ts";
import { type PluginResult, valueAt } from "../../wasm/columns.ts";
import { createPluginHost, type PluginHost, type PluginLimits } from "../../wasm/host.ts";
import {
  assertPinned,
  type ChainedPlugin,
  type ChainedValue,
  type PluginChain,
  startPlugins,
} from "./plugin-chain.ts";
import { encodePluginConfig, type SecretLookup } from "./plugin-config.ts";
import { encodePosition, needsPositions } from "./positions.ts";
import { type RecordSchema, readRecordSchema } from "./record-schema.ts";
import { syntheticRecord } from "./synthetic-record.ts";

/** Large enough that crossing into the worker costs little for one record, small enough to stay in the caches. */
const BOUNDS: LaneBounds = { maxRecords: 4096, maxBytes: 4 * 1024 * 1024 };

/**
 * A batch of 4 MiB needs about four times as much (input, decoded strings, output, keys); six times when every value
 * is masked with a character of six bytes. A batch of 4,096 records takes some 10 ms.
 */
const DEFAULT_LIMITS: PluginLimits = {
  memoryMaxBytes: 128 * 1024 * 1024,
  deadlineMs: 2000,
  maxOutputBytes: 64 * 1024 * 1024,
};

/** Batches that bring the guest from V8's baseline compiler to its optimizing one. */
const WARM_UP_BATCHES = 20;
const WARM_UP_RECORDS = 256;

/** Why the stage refuses what the plugin refuses. `dropped` is not among them: this plugin drops no rows. */
const REASONS: Readonly<Record<Exclude<PluginStatus, "ok" | "dropped">, Reason>> = {
  tombstone: "tombstone",
  "too-large": "too-large",
  "not-utf8": "not-utf8",
  "not-json": "not-json",
  "duplicate-field": "duplicate-field",
  "unknown-field": "unknown-field",
  "missing-field": "missing-field",
  "wrong-type": "wrong-type",
  "record-id": "record-id",
  schema: "schema",
  "plugin-failed": "plugin-failed",
};

const utf8 = new TextDecoder();

export interface DesensitizeOptions {
  readonly spec: PipelineSpec;
  /** Raw bytes of a secret by the name of its environment variable; throws key-missing when there is none. */
  readonly secrets: SecretLookup;
  /** The built plugin: the file at wasmPath("desensitize"). */
  readonly wasm: Uint8Array;
  /** SHA-256 that the pipeline file pins for it; null or left out: none. */
  readonly sha256?: string | null | undefined;
  /** What raw values pass before the rules, in order. */
  readonly plugins?: readonly ChainedPlugin[] | undefined;
  readonly limits?: Partial<PluginLimits> | undefined;
}

/** What the lanes share once it has started. */
interface Running {
  readonly host: PluginHost;
  readonly plugins: PluginChain;
}

/** What became of a row: a reason why it is refused, or the outgoing record. */
type Judged = Reason | { readonly key: Uint8Array; readonly value: Uint8Array };

function isRefusal(judged: Judged): judged is Reason {
  return typeof judged === "string";
}

/** Why a record does not even reach the plugin; `null`: it does. */
function refusedUnread(record: StreamRecord, maxBytes: number): Reason | null {
  if (record.value === null) return "tombstone";
  return record.value.length > maxBytes ? "too-large" : null;
}

/** Why a record did not come through the user's plugins; `null`: it did. */
function refusedBy(given: ChainedValue | null | undefined): Reason | null {
  return typeof given === "string" ? given : null;
}

/** Whether the rest of the schema accepts a record that the plugin has found to be JSON. */
function fitsSchema(schema: RecordSchema, value: Uint8Array): boolean {
  if (schema.validate === null) return true;
  return schema.validate(JSON.parse(utf8.decode(value)));
}

/** Pairs every row with its output or the reason why it has none. */
function judgeRows(
  values: readonly Uint8Array[],
  result: PluginResult,
  schema: RecordSchema,
): Judged[] {
  const [keys, outputs] = result.columns;
  const judged = Array.from(result.status, (code): Judged => {
    const status = STATUS_NAMES[code] ?? "plugin-failed";
    return status === "ok" || status === "dropped" ? "plugin-failed" : REASONS[status];
  });
  result.rowIndex.forEach((row, i) => {
    const key = keys === undefined ? null : valueAt(keys, i);
    const value = outputs === undefined ? null : valueAt(outputs, i);
    const raw = values[row];
    if (key === null || value === null || raw === undefined) return;
    if (!fitsSchema(schema, raw)) judged[row] = "schema";
    else judged[row] = value.length > MAX_VALUE_BYTES ? "too-large" : { key, value };
  });
  return judged;
}

async function processBatch(
  records: readonly StreamRecord[],
  options: {
    host: PluginHost;
    plugins: PluginChain;
    schema: RecordSchema;
    spec: PipelineSpec;
    lane: number;
  },
): Promise<StepResult<null>> {
  const { host, plugins, schema, spec, lane } = options;
  const { maxBytes } = spec.record;
  const refusals = records.map((record) => refusedUnread(record, maxBytes));
  const given = await plugins.run(
    records.map(({ value }, i) => (refusals[i] === null ? value : null)),
  );
  const values: Uint8Array[] = [];
  const positions: Uint8Array[] = [];
  const withPositions = needsPositions(spec.desensitize);
  records.forEach(({ offset }, i) => {
    const value = given[i];
    if (!(value instanceof Uint8Array)) return;
    values.push(value);
    if (withPositions) positions.push(encodePosition(lane, offset));
  });
  const columns = withPositions ? [values, positions] : [values];
  const judged =
    values.length === 0
      ? []
      : judgeRows(values, await host.transform(columns, values.length), schema);
  const outputs: OutputRecord[] = [];
  const outcomes: Outcome[] = [];
  let row = 0;
  records.forEach(({ offset }, i) => {
    const what = refusals[i] ?? refusedBy(given[i]) ?? judged[row++] ?? "plugin-failed";
    if (what === "dropped") outcomes.push({ offset, kind: "drop", reason: what });
    else if (isRefusal(what)) outcomes.push({ offset, kind: "dead-letter", reason: what });
    else outputs.push({ role: "desensitized", key: what.key, value: what.value, headers: {} });
  });
  const last = records.at(-1);
  return {
    outputs,
    outcomes,
    state: null,
    consumedTo: last === undefined ? null : last.offset + 1,
    wakeAtMs: null,
  };
}

/**
 * Makes the stage. The plugin starts with the first `warmUp` or `openLane`; all lanes share it.
 * @throws spec-invalid, key-missing, key-invalid when pipeline file, schema and secrets do not fit together
 */
export function createDesensitizeStage(options: DesensitizeOptions): Stage<null> {
  const { spec, wasm } = options;
  const schema = readRecordSchema(spec.record.schema);
  const config = encodePluginConfig(spec, schema, options.secrets);
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  let starting: Promise<Running> | null = null;
  let closed = false;

  const startBoth = async (): Promise<Running> => {
    if (typeof options.sha256 === "string") {
      assertPinned(wasm, options.sha256, "the built-in plugin desensitize");
    }
    const plugins = await startPlugins(options.plugins ?? [], spec.record.maxBytes);
    try {
      return { plugins, host: await createPluginHost({ module: wasm, config, limits }) };
    } catch (error) {
      await plugins.close();
      throw error;
    }
  };
  const start = (): Promise<Running> => {
    if (closed) throw new SealstreamError("internal", "the desensitize stage is closed");
    starting ??= startBoth().catch((error: unknown) => {
      // A host that did not start is not kept: the lane's next start tries again.
      starting = null;
      throw error;
    });
    return starting;
  };

  return {
    name: "desensitize",
    bounds: BOUNDS,
    async openLane(lane) {
      const running = await start();
      return {
        restore: () => null,
        process: (records) => processBatch(records, { ...running, schema, spec, lane }),
      };
    },
    async warmUp() {
      const { host } = await start();
      const column = new Array<Uint8Array>(WARM_UP_RECORDS).fill(syntheticRecord(spec, schema));
      const positions = column.map((_, i) => encodePosition(0, i));
      const columns = needsPositions(spec.desensitize) ? [column, positions] : [column];
      for (let i = 0; i < WARM_UP_BATCHES; i++) await host.transform(columns, column.length);
    },
    async close() {
      closed = true;
      config.fill(0);
      const running = await starting?.catch(() => null);
      await Promise.all([running?.host.close(), running?.plugins.close()]);
    },
  };
}
