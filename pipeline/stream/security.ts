/**
 * What a cluster's refusal means: credentials, certificates and ACLs, in this project's words.
 *
 * Only fixed names of the protocol are looked at and only names of resources are repeated, never a library's own text.
 * Must not retry: nobody gets in by asking again.
 */
import { isSealstreamError, SealstreamError } from "../errors.ts";

/** `org.apache.kafka.common.protocol.Errors`, by kafkajs's name and by number. */
const REFUSALS: Readonly<Record<string, string>> = {
  TOPIC_AUTHORIZATION_FAILED: "TOPIC_AUTHORIZATION_FAILED",
  GROUP_AUTHORIZATION_FAILED: "GROUP_AUTHORIZATION_FAILED",
  TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
  CLUSTER_AUTHORIZATION_FAILED: "CLUSTER_AUTHORIZATION_FAILED",
  29: "TOPIC_AUTHORIZATION_FAILED",
  30: "GROUP_AUTHORIZATION_FAILED",
  31: "CLUSTER_AUTHORIZATION_FAILED",
  53: "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
};
const CREDENTIALS_REFUSED: ReadonlySet<string> = new Set([
  "SASL_AUTHENTICATION_FAILED",
  "UNSUPPORTED_SASL_MECHANISM",
  "KafkaJSSASLAuthenticationError",
]);
/** Errors wrap each other; kafkajs goes three deep. */
const MAX_DEPTH = 8;

interface ErrorFields {
  readonly name?: string;
  readonly type?: string;
  readonly code?: unknown;
  readonly cause?: unknown;
}

/** An error and what caused it, outermost first. */
export function causesOf(error: unknown): readonly ErrorFields[] {
  const causes: ErrorFields[] = [];
  let current = error;
  while (typeof current === "object" && current !== null && causes.length < MAX_DEPTH) {
    // Because every field is optional, and each use below checks what it finds.
    const fields = current as ErrorFields;
    causes.push(fields);
    current = fields.cause;
  }
  return causes;
}

/**
 * A refusal of the cluster as an error that nobody retries; null when the error is something else.
 * @param error what a client library threw, or a code of the Kafka protocol
 * @param resource what was asked for, such as `topic digits.raw` or `group digits.encrypt`
 */
export function accessDenied(error: unknown, resource: string): SealstreamError | null {
  if (typeof error === "number") {
    return error in REFUSALS ? refusal(REFUSALS[error] ?? "", resource, undefined) : null;
  }
  for (const fields of causesOf(error)) {
    if (isSealstreamError(fields, "access-denied")) {
      return fields;
    }
    const { name = "", type = "" } = fields;
    if (CREDENTIALS_REFUSED.has(name) || CREDENTIALS_REFUSED.has(type)) {
      return credentialsRefused(error);
    }
    if (Object.hasOwn(REFUSALS, type)) {
      return refusal(type, resource, error);
    }
  }
  return null;
}

function refusal(name: string, resource: string, cause: unknown): SealstreamError {
  return new SealstreamError(
    "access-denied",
    `Kafka refuses ${resource} to this user (${name}): compare its ACLs with those of "sealstream topics FILE --acls".`,
    { cause },
  );
}

function credentialsRefused(cause: unknown): SealstreamError {
  return new SealstreamError(
    "access-denied",
    "Kafka refuses this user or its password or token: check kafka.sasl in the pipeline file and the secret in the environment.",
    { cause },
  );
}

/** Runs work; a refusal in it names the resource. */
export async function naming<T>(resource: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw accessDenied(error, resource) ?? error;
  }
}
