/**
 * What a command is handed: the only door to the environment, the clock and the terminal.
 *
 * Commands print results to standard output and everything about the work to standard error.
 */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { ZONES } from "../crypto/key-purposes.ts";
import type { TrustRoot } from "../crypto/trust.ts";
import { isSealstreamError, SealstreamError } from "../errors.ts";
import { createLogger } from "../observe/logger.ts";
import type { Complaint } from "../spec/complaint.ts";
import { loadPipelineSpec } from "../spec/load.ts";
import type { PipelineSpec } from "../spec/pipeline-spec.ts";
import type { KafkaRole } from "../stream/acls.ts";
import { type ClientOptions, openClient } from "../stream/open-client.ts";
import type { Clock, KafkaClient, Logger } from "../stream/port.ts";
import { securityFor } from "./kafka-credentials.ts";

export interface CommandContext {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  /** Writes one line of result. */
  readonly print: (line: string) => void;
  /** Writes one line about the work. */
  readonly tell: (line: string) => void;
  /** Aborts when the process is asked to end. */
  readonly signal: AbortSignal;
  /** Aborts when standard input closes. */
  readonly inputEnds: () => AbortSignal;
  /** Whether a person is watching standard error. */
  readonly isTerminal: boolean;
  /** Columns of the terminal that standard output is; undefined where it is none. */
  readonly outputColumns?: number | undefined;
}

/** Between attempts to find a broker; doubled each time up to the longest. */
const FIRST_WAIT_MS = 1_000;
const MOST_WAIT_MS = 10_000;
/** How long a command that a person waits for tries. */
const SHORT_PATIENCE_MS = 10_000;

/** What `-` on the command line stands for. */
export const STANDARD_INPUT = "/dev/stdin";

/**
 * Exit codes of every command. `again` is a stage process's alone: what ended it may pass, so whoever keeps it should
 * start it again (75 is EX_TEMPFAIL of sysexits.h).
 */
export const EXIT = { ok: 0, failed: 1, invalid: 2, again: 75 } as const;

/** A checked pipeline, and every file that was read for it (for the permissions of child processes). */
export interface LoadedSpec {
  readonly spec: PipelineSpec;
  readonly files: readonly string[];
}

/**
 * Loads and checks a pipeline file.
 * @throws SealstreamError `spec-invalid` whose message has one line per complaint
 */
export function loadSpecFiles(context: CommandContext, file: string): LoadedSpec {
  const files: string[] = [];
  const result = loadPipelineSpec({
    path: file,
    readFile: (path) => {
      const bytes = readFileSync(path);
      files.push(path);
      return bytes;
    },
    env: context.environment,
  });
  if (result.status === "invalid") {
    throw new SealstreamError("spec-invalid", result.complaints.map(complaintLine).join("\n"));
  }
  return { spec: result.spec, files };
}

/** The pipeline of {@link loadSpecFiles}. */
export function loadSpec(context: CommandContext, file: string): PipelineSpec {
  return loadSpecFiles(context, file).spec;
}

/** `file:line:column: path: message`, as compilers print it. */
export function complaintLine({ file, line, column, path, message }: Complaint): string {
  return `${file}:${line}:${column}: ${path === "" ? "" : `${path}: `}${message}`;
}

/** What the file says of whom to believe. @throws SealstreamError `key-missing` when no identities are pinned yet */
export function trustRoot(spec: PipelineSpec): TrustRoot {
  if (spec.zones === null) {
    throw new SealstreamError(
      "key-missing",
      `${spec.file} pins no zone identities: run "sealstream keys create ${spec.file}" first.`,
    );
  }
  const missing = ZONES.filter((zone) => spec.zones?.[zone].length === 0);
  if (missing.length > 0) {
    throw new SealstreamError(
      "key-missing",
      `${spec.file} pins no identity of ${missing.join(", ")} yet: have it run "sealstream keys create ${spec.file}${missing.map((zone) => ` --zone ${zone}`).join("")}" first.`,
    );
  }
  return { zones: spec.zones, revoked: spec.revoked };
}

/** Log level from SEALSTREAM_LOG; quiet unless asked. */
export function openLogger(context: CommandContext, base: Record<string, unknown>): Logger {
  const wanted = context.environment["SEALSTREAM_LOG"] ?? "warn";
  const level = (["silent", "error", "warn", "info", "debug"] as const).find(
    (name) => name === wanted,
  );
  return createLogger(level ?? "warn", base);
}

/** Brokers of the pipeline file, else of KAFKA_BROKERS. */
export function namedBrokers(
  context: CommandContext,
  spec: PipelineSpec | null,
): readonly string[] {
  if (spec !== null && spec.kafka.brokers.length > 0) {
    return spec.kafka.brokers;
  }
  const named = context.environment["KAFKA_BROKERS"] ?? "";
  return named
    .split(",")
    .map((broker) => broker.trim())
    .filter((broker) => broker !== "");
}

export interface OpenKafkaOptions {
  /** Who connects; unless said, the operator. */
  readonly role?: KafkaRole;
  /** Waits until a broker answers or the process is asked to end. */
  readonly forever?: boolean;
}

/** What a role's client is opened with. @throws SealstreamError `usage` when no broker is named */
export function clientOptions(
  context: CommandContext,
  spec: PipelineSpec,
  logger: Logger,
  role: KafkaRole = "operator",
): ClientOptions {
  const brokers = namedBrokers(context, spec);
  if (brokers.length === 0) {
    throw new SealstreamError(
      "usage",
      'No Kafka broker is named: set KAFKA_BROKERS, or start one with "sealstream broker" and set what it prints.',
    );
  }
  return {
    brokers,
    clientId: `sealstream-${spec.name}`,
    compression: spec.kafka.compression,
    sessionTimeoutMs: spec.kafka.sessionTimeoutMs,
    transactionTimeoutMs: spec.kafka.transactionTimeoutMs,
    logger,
    ...securityFor(spec.kafka, role, context),
  };
}

/** Waits, and no longer than until the process is asked to end. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}

/**
 * Connects to the pipeline's cluster as a role, with patience while no broker answers: stages wait for as long as it
 * takes, a command that a person waits for gives up soon. A refusal waits for nothing: asking again does not mend it.
 * @throws SealstreamError `broker-unavailable` when no broker answers in time or the process is asked to end,
 *   `access-denied` when the cluster refuses
 */
export async function openKafka(
  context: CommandContext,
  spec: PipelineSpec,
  logger: Logger,
  { role = "operator", forever = false }: OpenKafkaOptions = {},
): Promise<KafkaClient> {
  const options = clientOptions(context, spec, logger, role);
  const giveUpAtMs = forever ? Number.POSITIVE_INFINITY : context.clock() + SHORT_PATIENCE_MS;
  let waitMs = FIRST_WAIT_MS;
  let toldMs = 0;
  for (;;) {
    try {
      return await openClient(spec.kafka.client, options);
    } catch (error) {
      const mayMend = isSealstreamError(error, "broker-unavailable");
      if (!mayMend || context.signal.aborted || context.clock() + waitMs > giveUpAtMs) {
        throw error;
      }
      // One line whenever the wait changes: at its longest it is silent.
      if (toldMs !== waitMs) {
        toldMs = waitMs;
        context.tell(
          `no Kafka broker answers at ${options.brokers.join(", ")}: trying again in ${waitMs / 1_000} s`,
        );
      }
    }
    await pause(waitMs, context.signal);
    waitMs = Math.min(waitMs * 2, MOST_WAIT_MS);
  }
}
