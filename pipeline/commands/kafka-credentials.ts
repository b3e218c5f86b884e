/**
 * Who a process is for Kafka: certificates and secrets of its role, out of files and the environment.
 *
 * A stage gets what is its own: `{role}` in paths and names becomes its name, and a variable `NAME_<ROLE>` comes before
 * `NAME`. Must not print a secret, nor read one for another role than asked.
 */
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { SealstreamError } from "../errors.ts";
import type { PipelineSpec } from "../spec/pipeline-spec.ts";
import type { KafkaRole } from "../stream/acls.ts";
import type { SaslOptions, TlsOptions } from "../stream/open-client.ts";
import type { Clock } from "../stream/port.ts";
import { createTokenSource } from "./oauth-token.ts";

type Kafka = Pick<PipelineSpec["kafka"], "tls" | "sasl">;
type Environment = Readonly<Record<string, string | undefined>>;

export interface Security {
  readonly tls: TlsOptions | null;
  readonly sasl: SaslOptions | null;
}

function forRole(text: string, role: KafkaRole): string {
  return text.replaceAll("{role}", role);
}

/** The variable that holds a role's secret: its own, else the one for all; null when neither is set. */
function variableOf(environment: Environment, name: string, role: KafkaRole): string | null {
  const own = `${name}_${role.toUpperCase()}`;
  return [own, name].find((variable) => (environment[variable] ?? "") !== "") ?? null;
}

function secretName({ sasl }: Kafka): string | null {
  if (sasl === null) {
    return null;
  }
  return sasl.mechanism === "oauthbearer" ? sasl.clientSecret.env : sasl.password.env;
}

function secretOf(environment: Environment, name: string, role: KafkaRole, who: string): string {
  const variable = variableOf(environment, name, role);
  const secret = variable === null ? undefined : environment[variable];
  if (secret === undefined) {
    throw new SealstreamError(
      "key-missing",
      `The environment has no ${name}_${role.toUpperCase()} and no ${name}: set one to the secret with which ${who} connects to Kafka.`,
    );
  }
  return secret;
}

/** The PEM files that a role reads. */
export function credentialFiles({ tls }: Kafka, role: KafkaRole): string[] {
  const named = tls === null ? [] : [tls.ca, tls.certificate, tls.privateKey];
  return named.flatMap((path) => (path === null ? [] : [forRole(path, role)]));
}

/** The environment variable that a role reads its secret from, if it has one. */
export function credentialVariables(
  environment: Environment,
  kafka: Kafka,
  role: KafkaRole,
): string[] {
  const name = secretName(kafka);
  const variable = name === null ? null : variableOf(environment, name, role);
  return variable === null ? [] : [variable];
}

function readPem(path: string, role: KafkaRole): string {
  const file = forRole(path, role);
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new SealstreamError(
      "key-missing",
      `${file} cannot be read: kafka.tls names it for ${role}.`,
      { cause: error },
    );
  }
}

function tlsFor({ tls }: Kafka, role: KafkaRole): TlsOptions | null {
  if (tls === null) {
    return null;
  }
  const read = (path: string | null): string | null => (path === null ? null : readPem(path, role));
  const options = {
    ca: read(tls.ca),
    certificate: read(tls.certificate),
    privateKey: read(tls.privateKey),
  };
  try {
    createSecureContext({
      ...(options.ca === null ? {} : { ca: options.ca }),
      ...(options.certificate === null ? {} : { cert: options.certificate }),
      ...(options.privateKey === null ? {} : { key: options.privateKey }),
    });
  } catch {
    // Because what OpenSSL says may quote what it could not read.
    throw new SealstreamError(
      "key-invalid",
      `The files of kafka.tls for ${role} are not a certificate and its private key in PEM without a passphrase.`,
    );
  }
  return options;
}

/**
 * What a role connects with.
 * @throws SealstreamError `key-missing`, `key-invalid`, or `spec-invalid` for an unencrypted token endpoint
 */
export function securityFor(
  kafka: Kafka,
  role: KafkaRole,
  { environment, clock }: { readonly environment: Environment; readonly clock: Clock },
): Security {
  const tls = tlsFor(kafka, role);
  const { sasl } = kafka;
  if (sasl === null) {
    return { tls, sasl: null };
  }
  if (sasl.mechanism === "oauthbearer") {
    const clientId = forRole(sasl.clientId, role);
    const clientSecret = secretOf(environment, sasl.clientSecret.env, role, clientId);
    const { tokenEndpoint: endpoint, scope } = sasl;
    const token = createTokenSource({ endpoint, clientId, clientSecret, scope, clock });
    return { tls, sasl: { mechanism: "oauthbearer", token } };
  }
  const username = forRole(sasl.username, role);
  const password = secretOf(environment, sasl.password.env, role, username);
  return { tls, sasl: { mechanism: sasl.mechanism, username, password } };
}

/**
 * The principal that Kafka knows a role by: its user, its client id, or the subject of its certificate.
 * @throws SealstreamError `usage` when the file names none
 */
export function principalOf(kafka: Kafka, role: KafkaRole): string {
  const { sasl, tls } = kafka;
  if (sasl !== null) {
    const name = sasl.mechanism === "oauthbearer" ? sasl.clientId : sasl.username;
    return `User:${forRole(name, role)}`;
  }
  const certificate = tls?.certificate ?? null;
  if (certificate === null) {
    throw new SealstreamError(
      "usage",
      "The pipeline file names no users: set kafka.sasl or kafka.tls.certificate, with {role} in it.",
    );
  }
  // Kafka writes a subject as RFC 2253 does: the most specific part first.
  const { subject } = new X509Certificate(readPem(certificate, role));
  return `User:${subject.split("\n").reverse().join(",")}`;
}
