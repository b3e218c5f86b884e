/**
 * Kafka's error codes as far as this project acts on them, and what each means for the one who asked.
 *
 * Source: org.apache.kafka.common.protocol.Errors. A code that is not named here is an error nobody can mend by asking
 * again. Must not decide about retries of requests that were never answered.
 */
import { SealstreamError } from "../../errors.ts";
import { accessDenied } from "../security.ts";

export const NONE = 0;
export const OFFSET_OUT_OF_RANGE = 1;
export const UNKNOWN_TOPIC_OR_PARTITION = 3;
export const MESSAGE_TOO_LARGE = 10;
export const RECORD_LIST_TOO_LARGE = 18;
export const OUT_OF_ORDER_SEQUENCE_NUMBER = 45;
export const DUPLICATE_SEQUENCE_NUMBER = 46;
export const CONCURRENT_TRANSACTIONS = 51;

const NAMES: Readonly<Record<number, string>> = {
  [-1]: "UNKNOWN_SERVER_ERROR",
  1: "OFFSET_OUT_OF_RANGE",
  2: "CORRUPT_MESSAGE",
  3: "UNKNOWN_TOPIC_OR_PARTITION",
  5: "LEADER_NOT_AVAILABLE",
  6: "NOT_LEADER_OR_FOLLOWER",
  7: "REQUEST_TIMED_OUT",
  8: "BROKER_NOT_AVAILABLE",
  9: "REPLICA_NOT_AVAILABLE",
  10: "MESSAGE_TOO_LARGE",
  13: "NETWORK_EXCEPTION",
  14: "COORDINATOR_LOAD_IN_PROGRESS",
  15: "COORDINATOR_NOT_AVAILABLE",
  16: "NOT_COORDINATOR",
  17: "INVALID_TOPIC_EXCEPTION",
  18: "RECORD_LIST_TOO_LARGE",
  19: "NOT_ENOUGH_REPLICAS",
  20: "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
  22: "ILLEGAL_GENERATION",
  25: "UNKNOWN_MEMBER_ID",
  29: "TOPIC_AUTHORIZATION_FAILED",
  30: "GROUP_AUTHORIZATION_FAILED",
  31: "CLUSTER_AUTHORIZATION_FAILED",
  32: "INVALID_TIMESTAMP",
  35: "UNSUPPORTED_VERSION",
  42: "INVALID_REQUEST",
  43: "UNSUPPORTED_FOR_MESSAGE_FORMAT",
  44: "POLICY_VIOLATION",
  45: "OUT_OF_ORDER_SEQUENCE_NUMBER",
  46: "DUPLICATE_SEQUENCE_NUMBER",
  47: "INVALID_PRODUCER_EPOCH",
  48: "INVALID_TXN_STATE",
  49: "INVALID_PRODUCER_ID_MAPPING",
  50: "INVALID_TRANSACTION_TIMEOUT",
  51: "CONCURRENT_TRANSACTIONS",
  52: "TRANSACTION_COORDINATOR_FENCED",
  53: "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
  55: "OPERATION_NOT_ATTEMPTED",
  56: "KAFKA_STORAGE_ERROR",
  59: "UNKNOWN_PRODUCER_ID",
  74: "FENCED_LEADER_EPOCH",
  75: "UNKNOWN_LEADER_EPOCH",
  76: "UNSUPPORTED_COMPRESSION_TYPE",
  78: "OFFSET_NOT_AVAILABLE",
  87: "INVALID_RECORD",
  88: "UNSTABLE_OFFSET_COMMIT",
  89: "THROTTLING_QUOTA_EXCEEDED",
  90: "PRODUCER_FENCED",
  100: "UNKNOWN_TOPIC_ID",
  120: "TRANSACTION_ABORTABLE",
};

/** Another owner of the transactional id has taken over, or the coordinator has ended our transaction. */
const FENCED: ReadonlySet<number> = new Set([47, 48, 49, 52, 59, 90]);

/** Of a partition's leader: it may answer otherwise soon, or another broker leads now. All mean "not written for good". */
const RETRIABLE_OF_LEADER: ReadonlySet<number> = new Set([
  2, 3, 5, 6, 7, 8, 9, 13, 19, 20, 56, 74, 75, 78, 89, 100,
]);

/** Of a coordinator: it moved, is loading, or its log had no quorum. */
const STALE_COORDINATOR: ReadonlySet<number> = new Set([7, 14, 15, 16]);

export function isFenced(code: number): boolean {
  return FENCED.has(code);
}

export function isRetriableByLeader(code: number): boolean {
  return RETRIABLE_OF_LEADER.has(code);
}

export function isStaleCoordinator(code: number): boolean {
  return STALE_COORDINATOR.has(code);
}

export function protocolErrorName(code: number): string {
  return NAMES[code] ?? `error ${code}`;
}

/**
 * A broker's refusal as this project's error.
 * @param about what was asked, such as `a transaction of <id>`
 */
export function protocolError(code: number, about: string): SealstreamError {
  const name = protocolErrorName(code);
  if (FENCED.has(code)) {
    return new SealstreamError(
      "fenced",
      `Kafka answered ${name} to ${about}: another owner has taken over, or the transaction took longer than its timeout.`,
    );
  }
  const denied = accessDenied(code, about);
  return denied ?? new SealstreamError("kafka-failed", `Kafka answered ${name} to ${about}.`);
}
