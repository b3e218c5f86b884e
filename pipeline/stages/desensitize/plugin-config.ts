/**
 * Writes the configuration of the desensitize plugin: what the pipeline file says, in the bytes the guest reads.
 *
 * The grammar is in plugins/desensitize/README.md. The bytes hold HMAC keys: whoever asked for them wipes them.
 */

import { SealstreamError } from "../../errors.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import { createWriter } from "./config-bytes.ts";
import { listDetectorSets } from "./config-detectors.ts";
import { listKeys, type SecretLookup } from "./config-keys.ts";
import { type ActionBlock, encodeAction } from "./config-parameters.ts";
import { type FieldNode, listFields } from "./field-tree.ts";
import { observedFields } from "./observed.ts";
import { needsPositions } from "./positions.ts";
import type { RecordSchema } from "./record-schema.ts";

export type { SecretLookup } from "./config-keys.ts";

/** "SDC2", little-endian. */
const CONFIG_MAGIC = 0x32434453;
const FLAG_ALLOWS_UNKNOWN = 1;
const FLAG_POSITIONS = 2;
const FLAG_REQUIRED = 1;
const FLAG_OBSERVED = 2;
/** Parent of a field of the record itself. */
const NO_PARENT = 0xffffffff;
/** Nesting of a record, itself counted: forms have a few levels, parsers downstream may recurse. */
const MAX_DEPTH = 64;
/** Longest record id in bytes: it becomes the key of every later record and part of authenticated data. */
export const ID_MAX_BYTES = 1024;

const NOTHING = new Uint8Array(0);
/** What stands for an object or array that is rebuilt from the fields inside it. */
const CONTAINERS = {
  object: { code: 64, block: NOTHING },
  array: { code: 65, block: NOTHING },
} as const satisfies Record<string, ActionBlock>;
const utf8 = new TextEncoder();

function checkId(spec: PipelineSpec, fields: readonly FieldNode[]): number {
  const id = fields.findIndex(({ name, parent }) => parent === null && name === spec.record.id);
  const action = fields[id]?.rule?.action;
  if (action !== "keep" && action !== "pseudonymize") {
    throw new SealstreamError(
      "spec-invalid",
      `desensitize must keep or pseudonymize the record id ${spec.record.id}`,
    );
  }
  return id;
}

/**
 * The configuration for a pipeline.
 * @throws spec-invalid when a rule and the schema do not fit together, key-invalid when a key is too short, and
 * whatever `secrets` throws
 */
export function encodePluginConfig(
  spec: PipelineSpec,
  schema: RecordSchema,
  secrets: SecretLookup,
): Uint8Array<ArrayBuffer> {
  const fields = listFields(spec.desensitize, schema);
  const id = checkId(spec, fields);
  const keys = listKeys(spec.desensitize);
  const detectors = listDetectorSets();
  const blocks = fields.map(({ rule, container }) =>
    rule === null ? CONTAINERS[container ?? "object"] : encodeAction(rule, keys, detectors),
  );
  const observed = observedFields(spec);
  const writer = createWriter();
  const flags =
    (schema.allowsUnknown ? FLAG_ALLOWS_UNKNOWN : 0) |
    (needsPositions(spec.desensitize) ? FLAG_POSITIONS : 0);
  writer.words(CONFIG_MAGIC, keys.count, fields.length, id, flags, MAX_DEPTH, ID_MAX_BYTES, 0);
  keys.write(writer, secrets);
  fields.forEach(({ path, name, types, isRequired, parent }, i) => {
    const { code, block } = blocks[i] ?? CONTAINERS.object;
    const nameBytes = utf8.encode(name);
    const fieldFlags = (isRequired ? FLAG_REQUIRED : 0) | (observed.has(path) ? FLAG_OBSERVED : 0);
    writer.words(code, types, fieldFlags, parent ?? NO_PARENT, nameBytes.length, block.length);
    writer.padded(nameBytes);
    writer.padded(block);
  });
  return writer.finish();
}
