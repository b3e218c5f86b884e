/**
 * The desensitize stage: raw records in, records without what may not leave out.
 *
 * Raw values pass the user's own plugins first (plugin-chain.ts), then the desensitize plugin in its worker
 * (judge-rows.ts), whose statuses become outcomes. Where fields are clustered, records wait for their window and are
 * grouped (cluster-lane.ts).
 */
import { SealstreamError } from "../../errors.ts";
import type { ClusterOptions, PipelineSpec } from "../../spec/pipeline-spec.ts";
import type {
  Headers,
  LaneBounds,
  Reason,
  Stage,
  StepResult,
  StreamRecord,
} from "../../stream/contract.ts";
import { createPluginHost, type PluginHost, type PluginLimits } from "../../wasm/host.ts";
import { createClusterLane, type WindowReport } from "./cluster-lane.ts";
import { type DesensitizeState, NO_CUT } from "./cluster-state.ts";
import { createWindowGrouper } from "./cluster-window.ts";
import { createJudgeAhead, type JudgeAhead } from "./judge-ahead.ts";
import { isRefusal, judgeRecords, type RowJudge, settle } from "./judge-rows.ts";
import { clusterOptions } from "./observed.ts";
import {
  assertPinned,
  type ChainedPlugin,
  type PluginChain,
  startPlugins,
} from "./plugin-chain.ts";
import { encodePluginConfig, type SecretLookup } from "./plugin-config.ts";
import { encodePosition, needsPositions } from "./positions.ts";
import { readRecordSchema } from "./record-schema.ts";
import { createSubjectLanes } from "./subject-lanes.ts";
import { syntheticRecord } from "./synthetic-record.ts";

/** So much that the plugin always has something to do while the lane writes, and that a transaction is worth its requests. */
const BOUNDS: LaneBounds = { maxRecords: 24_576, maxBytes: 6 * 1024 * 1024 };

/** What a lane holds that groups records: a window of 16,000 records of 1 KiB. */
const WINDOW_BYTES = 16 * 1024 * 1024;

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
  /** Records come from no partition in particular: none is refused for where it lies. */
  readonly anyLane?: boolean | undefined;
  /** A window of records was grouped; its transaction may still be thrown away. */
  readonly onWindow?: ((report: WindowReport) => void) | undefined;
}

/** What the lanes share once it has started. */
interface Running {
  readonly host: PluginHost;
  readonly plugins: PluginChain;
}

/** A lane whose records each stand for themselves: those that are judged by now are final. */
async function processBatch(
  records: readonly StreamRecord[],
  ahead: JudgeAhead,
  headers: Headers | undefined,
): Promise<StepResult<DesensitizeState>> {
  const judged = await ahead.take(records);
  const last = records[judged.length - 1];
  return {
    ...settle(records, judged, headers),
    state: NO_CUT,
    consumedTo: last === undefined ? null : last.offset + 1,
    wakeAtMs: null,
  };
}

/** The plugin of a pipeline, started when it is first needed; all lanes share it. */
function createPlugin(options: DesensitizeOptions) {
  const { spec, wasm } = options;
  const schema = readRecordSchema(spec.record.schema);
  const subjects = createSubjectLanes(spec, schema, options.secrets);
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
    spec,
    schema,
    subjects,
    start,
    async close(): Promise<void> {
      closed = true;
      config.fill(0);
      const running = await starting?.catch(() => null);
      await Promise.all([running?.host.close(), running?.plugins.close()]);
    },
  };
}

/** Bounds of a lane whose windows have so many records. */
function boundsOf(cluster: ClusterOptions | null): LaneBounds {
  if (cluster === null) return BOUNDS;
  const maxRecords = Math.max(BOUNDS.maxRecords, cluster.windowRecords);
  return { maxRecords, maxBytes: WINDOW_BYTES };
}

/**
 * Makes the stage. The plugin starts with the first `warmUp` or `openLane`; all lanes share it.
 * @throws spec-invalid, key-missing, key-invalid when pipeline file, schema and secrets do not fit together
 */
export function createDesensitizeStage(options: DesensitizeOptions): Stage<DesensitizeState> {
  const plugin = createPlugin(options);
  const { spec, schema, subjects } = plugin;
  const grouper = createWindowGrouper(spec, schema);
  const cluster = clusterOptions(spec.desensitize);
  const bounds = boundsOf(cluster);
  return {
    name: "desensitize",
    bounds,
    async openLane(lane) {
      const running = await plugin.start();
      const judge: RowJudge = {
        ...{ ...running, schema, spec, subjects },
        lane: options.anyLane === true ? null : lane,
      };
      if (grouper !== null && cluster !== null) {
        const { onWindow } = options;
        return createClusterLane({
          ...judge,
          number: lane,
          options: cluster,
          bounds,
          grouper,
          onWindow,
        });
      }
      const ahead = createJudgeAhead(judge);
      return {
        restore: () => NO_CUT,
        prepare: ahead.prepare,
        process: (records) => processBatch(records, ahead, subjects?.headers),
      };
    },
    async warmUp() {
      const { host } = await plugin.start();
      const column = new Array<Uint8Array>(WARM_UP_RECORDS).fill(syntheticRecord(spec, schema));
      const positions = column.map((_, i) => encodePosition(0, i));
      const columns = needsPositions(spec.desensitize) ? [column, positions] : [column];
      for (let i = 0; i < WARM_UP_BATCHES; i++) await host.transform(columns, column.length);
    },
    close: plugin.close,
  };
}

export interface JudgedRecord {
  /** The record id after its rule. */
  readonly id: Uint8Array;
  /** The partition of `raw` that is its subject's; null: any. */
  readonly partition: number | null;
}

/** What the rules make of single records: whether each would pass, and under which id; nothing that may leave. */
export interface RuleJudge {
  /** What the rules let pass, or why the record is refused; one answer a record, in order. */
  judge(records: readonly StreamRecord[]): Promise<(Reason | JudgedRecord)[]>;
  close(): Promise<void>;
}

/**
 * The stage's rules without its windows: whether a record finds a group is decided when it comes.
 * @throws as createDesensitizeStage
 */
export function createRuleJudge(options: DesensitizeOptions): RuleJudge {
  const plugin = createPlugin(options);
  const { spec, schema, subjects } = plugin;
  const grouper = createWindowGrouper(spec, schema);
  return {
    async judge(records) {
      const running = await plugin.start();
      const judge: RowJudge = { ...running, schema, spec, subjects, lane: null };
      const judged = await judgeRecords(records, judge);
      return judged.map((what) => {
        const found = grouper === null ? what : grouper.waitingOf(what);
        if (isRefusal(found)) return found;
        const lane = subjects?.laneOf(found.notes) ?? null;
        return { id: found.key, partition: typeof lane === "number" ? lane : null };
      });
    },
    close: plugin.close,
  };
}
