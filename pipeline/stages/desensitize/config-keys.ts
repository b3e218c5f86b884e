/**
 * The keys of a pipeline's rules: each secret once for each use, looked up when the configuration is written.
 *
 * Pseudonyms are made with the secret itself, so that others can make them too; picks, fakes and noise with keys derived from
 * it, so that none of them says anything about a pseudonym under the same secret. FF1 takes a secret of 32 bytes as it
 * is, as its AES-256 key. Must not keep key bytes: it hands them to the writer, which wipes its parts.
 */
import { createHmac } from "node:crypto";
import { SealstreamError } from "../../errors.ts";
import type { DesensitizeRule, SecretReference } from "../../spec/pipeline-spec.ts";
import type { ConfigWriter } from "./config-bytes.ts";

/** Shortest HMAC key: the length of the hash's output (RFC 2104 section 3). */
const KEY_MIN_BYTES = 32;
/** AES-256. */
const AES_KEY_BYTES = 32;
/** What the plugin does with a key: its codes in the configuration. */
const KIND_CODES = { pseudonymize: 1, pick: 1, fake: 1, perturb: 1, fpe: 2 } as const;
/** What the derived keys are derived with. */
const LABELS = {
  pick: "sealstream desensitize pick v1",
  fake: "sealstream desensitize fake v1",
  perturb: "sealstream desensitize perturb v1",
} as const;

/** Looks a secret up by the name of its environment variable. Returns the raw bytes. */
export type SecretLookup = (env: string) => Uint8Array;

type KeyedRule = Extract<DesensitizeRule, { readonly key: SecretReference }>;

interface ConfigKey {
  readonly env: string;
  readonly use: KeyedRule["action"];
}

function keyOfRule({ key, action }: KeyedRule): ConfigKey {
  return { env: key.env, use: action };
}

function keyBytes({ env, use }: ConfigKey, secrets: SecretLookup): Uint8Array {
  const secret = secrets(env);
  if (secret.length < KEY_MIN_BYTES) {
    const what = `the secret ${env} has ${secret.length} bytes: a pseudonym key needs at least ${KEY_MIN_BYTES}`;
    throw new SealstreamError("key-invalid", what);
  }
  if (use === "pseudonymize") return secret;
  if (use === "fpe") {
    if (secret.length === AES_KEY_BYTES) return secret;
    const what = `the secret ${env} has ${secret.length} bytes: a key of fpe has exactly ${AES_KEY_BYTES}`;
    throw new SealstreamError("key-invalid", what);
  }
  return createHmac("sha256", secret).update(LABELS[use]).digest();
}

/** Every secret that the rules name, once. */
export function secretsOf(rules: readonly DesensitizeRule[]): string[] {
  return [...new Set(rules.flatMap((rule) => ("key" in rule ? [rule.key.env] : [])))];
}

export interface ConfigKeys {
  readonly count: number;
  /** The number by which the configuration calls the key of a rule. */
  indexOf(rule: KeyedRule): number;
  /** @throws key-invalid when a secret has the wrong length, and whatever `secrets` throws */
  write(writer: ConfigWriter, secrets: SecretLookup): void;
}

export function listKeys(rules: readonly DesensitizeRule[]): ConfigKeys {
  const keys: ConfigKey[] = [];
  const find = (wanted: ConfigKey): number =>
    keys.findIndex(({ env, use }) => env === wanted.env && use === wanted.use);
  for (const rule of rules) {
    if ("key" in rule && find(keyOfRule(rule)) === -1) keys.push(keyOfRule(rule));
  }
  return {
    count: keys.length,
    indexOf: (rule) => find(keyOfRule(rule)),
    write(writer, secrets) {
      for (const key of keys) {
        const bytes = keyBytes(key, secrets);
        writer.words(KIND_CODES[key.use], bytes.length);
        writer.padded(bytes);
        // A derived key is nobody else's; the secrets themselves belong to who looked them up.
        if (key.use in LABELS) bytes.fill(0);
      }
    },
  };
}
