/**
 * What stage processes say of themselves at their metrics ports: whether they are ready, why not, and what train runs on.
 *
 * Ports follow one another as `run --metrics-port` gives them out; a process says itself which stage it is. What comes
 * from a port is not believed to be one of ours: it is waited for briefly, cut, and printed without what a terminal
 * acts on. Must not fail because a process does not answer.
 */
import { STAGES, type StageName } from "../../../schemas/topics.ts";
import { escapeUnsafe } from "../dead-letters/text.ts";

export interface ProcessStand {
  readonly port: number;
  /** As the process says; where it does not answer, as `run` would have started it there. */
  readonly stage: StageName;
  /** Null: nobody answers at the port as a stage does. */
  readonly isReady: boolean | null;
  /** Why it is not ready. */
  readonly reason: string | null;
  /** Of train, once it has chosen. */
  readonly backend: string | null;
  /** Of train: what the newest models made of validation records, which no epsilon covers. */
  readonly validation: {
    readonly records: number;
    readonly correct: number;
    readonly driftAlarms: number;
  } | null;
}

const PATIENCE_MS = 2_000;
const MOST_BYTES = 1024 * 1024;
/** A reason is a sentence or two. */
const MOST_REASON_CHARACTERS = 400;

interface Answer {
  readonly status: number;
  readonly text: string;
}

/** The body as text, or null when it is longer than a stage's. */
async function readBody(response: Response): Promise<string | null> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > MOST_BYTES) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

async function ask(url: string): Promise<Answer | null> {
  try {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const response = await fetch(url, { redirect: "error", signal });
    const text = await readBody(response);
    return text === null ? null : { status: response.status, text };
  } catch {
    // Because whatever keeps a process from answering looks the same from here, and is the answer.
    return null;
  }
}

/** The value of a label of the first sample of a metric. */
function labelOf(metrics: string, metric: string, label: string): string | null {
  const found = new RegExp(`^${metric}\\{[^}\\n]*\\b${label}="([\\w.-]{1,40})"`, "m").exec(metrics);
  return found?.[1] ?? null;
}

/** The samples of a metric, added up; null when there is none. */
function sumOf(metrics: string, metric: string): number | null {
  const samples = [...metrics.matchAll(new RegExp(`^${metric}(?:\\{[^}\\n]*\\})? (\\d+)$`, "gm"))];
  return samples.length === 0 ? null : samples.reduce((sum, [, value]) => sum + Number(value), 0);
}

function validationOf(metrics: string): ProcessStand["validation"] {
  const records = sumOf(metrics, "sealstream_train_validation_records");
  return records === null
    ? null
    : {
        records,
        correct: sumOf(metrics, "sealstream_train_validation_correct") ?? 0,
        driftAlarms: sumOf(metrics, "sealstream_train_drift_alarms") ?? 0,
      };
}

async function processStand(
  host: string,
  port: number,
  expected: StageName,
): Promise<ProcessStand> {
  const where = `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
  const [ready, metrics] = await Promise.all([ask(`${where}/ready`), ask(`${where}/metrics`)]);
  const said = labelOf(metrics?.text ?? "", "[a-z_]+", "stage");
  const stage = STAGES.find((name) => name === said);
  const isStage = ready !== null && [200, 503].includes(ready.status) && stage !== undefined;
  if (!isStage || metrics === null) {
    return {
      ...{ port, stage: expected, isReady: null },
      ...{ reason: null, backend: null, validation: null },
    };
  }
  const isReady = ready.status === 200;
  const reason = escapeUnsafe(ready.text.trim().slice(0, MOST_REASON_CHARACTERS));
  return {
    ...{ port, stage, isReady, reason: isReady ? null : reason },
    backend: labelOf(metrics.text, "sealstream_train_backend_info", "backend"),
    validation: validationOf(metrics.text),
  };
}

/** Asks all processes that `run` has started from a port on, in its order. @param options.port of the first */
export function processStands(options: {
  readonly host: string;
  readonly port: number;
  readonly stages: readonly StageName[];
  /** Of each stage. */
  readonly instances: number;
}): Promise<ProcessStand[]> {
  const { host, port, stages, instances } = options;
  const expected = stages.flatMap((stage) => Array.from({ length: instances }, () => stage));
  return Promise.all(expected.map((stage, index) => processStand(host, port + index, stage)));
}
