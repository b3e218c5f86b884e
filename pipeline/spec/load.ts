/**
 * From a pipeline file on disk to a checked, typed {@link PipelineSpec}, or to complaints with line and path.
 *
 * Faults of shape are reported together, and once there are none, faults of meaning together. The file system and the environment are handed in; a wrong file is
 * an outcome, never an exception.
 */
import { basename, dirname, isAbsolute, resolve } from "node:path";
import { type PipelineFile, pipelineFileSchema } from "../../schemas/pipeline-file.ts";
import { type Complaint, inFileOrder, type KeyPath } from "./complaint.ts";
import { crossCheck, parseBrokers } from "./cross-checks.ts";
import { checkTree } from "./explain.ts";
import { mapOutputs, toMaps } from "./feature-maps.ts";
import { parseIdentity } from "./identity.ts";
import type { Environment } from "./interpolate.ts";
import { type LocatedTree, readTree } from "./located-tree.ts";
import type { PipelineSpec, SaslSpec, TlsSpec } from "./pipeline-spec.ts";
import { checkPlugins, toBuiltIns, toPlugins } from "./plugin-list.ts";
import { type ReadRecordSchema, readRecordSchema } from "./read-record-schema.ts";
import { toRecordFields } from "./record-fields.ts";
import { placeRules } from "./rule-fields.ts";
import { readRuleFiles } from "./rule-files.ts";
import { type LocatedSchema, warnAboutRules } from "./rule-warnings.ts";
import { type RuleFiles, toRule, toSecret } from "./rules.ts";
import { toPrivacy, toTrain } from "./training.ts";

export interface LoadOptions {
  /** The pipeline file; relative to the working directory, or absolute. */
  readonly path: string;
  /** Reads a whole file; throws when it cannot, such as `readFileSync`. */
  readonly readFile: (path: string) => Uint8Array;
  readonly env: Environment;
  /** Bytes of a plugin that Sealstream brings along, null when it is not built; left out: its pin is not checked here. */
  readonly readBuiltIn?: ((name: string) => Uint8Array | null) | undefined;
}

/** A complaint about a key of the file, for what is found out from the spec later; at the nearest key that is there. */
export type Locate = (path: KeyPath, message: string) => Complaint;

export type LoadedPipeline =
  | {
      readonly status: "ok";
      readonly spec: PipelineSpec;
      readonly warnings: readonly Complaint[];
      readonly locate: Locate;
    }
  | { readonly status: "invalid"; readonly complaints: readonly Complaint[] };

type LocatedDocument = Extract<ReadRecordSchema, { readonly status: "ok" }>;

interface ReadSchema {
  /** Null when it could not be read. */
  readonly located: LocatedDocument | null;
  readonly complaints: readonly Complaint[];
}

/** Loads a pipeline file and the record schema it names. Complaints come in file order. */
export function loadPipelineSpec(options: LoadOptions): LoadedPipeline {
  const path = resolve(options.path);
  const bytes = tryRead(options.readFile, path);
  if (bytes === null) {
    const message = "expected a readable file; there is none here";
    return invalid([{ file: options.path, line: 1, column: 1, path: "", message }]);
  }
  const read = readTree(bytes, options.path, options.env);
  if (read.status === "invalid") return invalid(read.complaints);
  const checked = checkTree<PipelineFile>(read.tree, pipelineFileSchema);
  if (checked.status === "invalid") return invalid(checked.complaints);
  const record = readSchema(checked.value, read.tree, path, options);
  const rules = readRuleFiles(checked.value, read.tree, (named) =>
    readBeside(path, named, options),
  );
  const complaints = [
    ...record.complaints,
    ...rules.complaints,
    ...checkPlugins(checked.value, read.tree, {
      readModule: (named) => readBeside(path, named, options),
      readBuiltIn: options.readBuiltIn,
    }),
    ...crossCheck(checked.value, record.located?.schema ?? null, read.tree),
  ];
  const { located } = record;
  if (complaints.length > 0 || located === null) return invalid(complaints);
  return {
    status: "ok",
    spec: toSpec(checked.value, located, rules, path),
    locate: read.tree.complain,
    // Only `check` asks, and every process loads the file.
    get warnings() {
      return inFileOrder(warn(checked.value, located, rules, read.tree));
    },
  };
}

function invalid(complaints: readonly Complaint[]): LoadedPipeline {
  return { status: "invalid", complaints: inFileOrder(complaints) };
}

function tryRead(readFile: (path: string) => Uint8Array, path: string): Uint8Array | null {
  try {
    return readFile(path);
  } catch {
    // Because every reason not to read it (absent, a folder, no permission) has the same remedy.
    return null;
  }
}

/** A file that the pipeline file names, relative to it; null when it cannot be read. */
function readBeside(path: string, named: string, { readFile }: LoadOptions): Uint8Array | null {
  return tryRead(readFile, isAbsolute(named) ? named : resolve(dirname(path), named));
}

function readSchema(
  file: PipelineFile,
  tree: LocatedTree,
  path: string,
  options: LoadOptions,
): ReadSchema {
  const named = file.record.schema;
  const bytes = readBeside(path, named, options);
  if (bytes === null) {
    const message = `expected a readable file relative to ${basename(path)}, found none`;
    return {
      located: null,
      complaints: [tree.complain(["record", "schema"], message)],
    };
  }
  const read = readRecordSchema(bytes, named);
  if (read.status === "ok") return { located: read, complaints: [] };
  const message = `the record schema has ${read.complaints.length === 1 ? "a fault" : "faults"}: see ${named}`;
  const here = tree.complain(["record", "schema"], message);
  return { located: null, complaints: [here, ...read.complaints] };
}

function toSpec(
  file: PipelineFile,
  record: LocatedDocument,
  files: RuleFiles,
  path: string,
): PipelineSpec {
  return {
    name: file.name,
    file: path,
    kafka: {
      ...file.kafka,
      brokers: parseBrokers(file.kafka.brokers) ?? [],
      tls: toTls(file.kafka.tls, path),
      sasl: toSasl(file.kafka.sasl),
    },
    deadLetters: file.deadLetters,
    record: {
      schema: record.document,
      id: file.record.id,
      subject: file.record.subject ?? null,
      partitioner: file.record.partitioner,
      maxBytes: file.record.maxBytes,
    },
    desensitize: placeRules(file).map(({ field, rule, path: [, index] }) =>
      toRule({ field, rule, index: Number(index) }, files, record.schema),
    ),
    plugins: toPlugins(file.plugins, path),
    builtInPlugins: toBuiltIns(file.plugins),
    features: {
      ...file.features,
      maps: toMaps(file.features.maps),
      outputs: mapOutputs(file.features),
    },
    encrypt: {
      examples: file.encrypt.examples,
      packs: { ...file.encrypt.packs, rate: file.encrypt.packs.rate ?? null },
      records: toRecordFields(file),
    },
    train: toTrain(file, path),
    privacy: toPrivacy(file),
    predict: file.predict,
    zones: toZones(file.zones),
    revoked: file.revoked,
  };
}

/** Paths of a pipeline file are relative to it. */
function toTls(tls: PipelineFile["kafka"]["tls"], file: string): TlsSpec | null {
  if (tls === undefined) return null;
  const at = (named: string | undefined): string | null =>
    named === undefined ? null : resolve(dirname(file), named);
  const named = tls === true ? {} : tls;
  return {
    ca: at(named.ca),
    certificate: at(named.certificate),
    privateKey: at(named.privateKey),
  };
}

function toSasl(sasl: PipelineFile["kafka"]["sasl"]): SaslSpec | null {
  if (sasl === undefined) return null;
  if (sasl.mechanism !== "oauthbearer") {
    return { ...sasl, password: toSecret(sasl.password) };
  }
  return { ...sasl, clientSecret: toSecret(sasl.clientSecret), scope: sasl.scope ?? null };
}

function toZones(zones: PipelineFile["zones"]): PipelineSpec["zones"] {
  if (zones === undefined) return null;
  // The cross checks have refused a file in which one of them does not parse.
  const parsed = (texts: string | readonly string[] | undefined) =>
    [texts ?? []].flat().flatMap((text) => parseIdentity(text) ?? []);
  return {
    owner: parsed(zones.owner),
    training: parsed(zones.training),
    prediction: parsed(zones.prediction),
    consumer: parsed(zones.consumer),
  };
}

/** What a careful reader would ask about; none of it stops the pipeline from being checked or run. */
function warn(
  file: PipelineFile,
  record: LocatedSchema,
  rules: RuleFiles,
  tree: LocatedTree,
): Complaint[] {
  const warnings = warnAboutRules(file, record, rules, tree);
  if (!(record.schema.required ?? []).includes(file.record.id)) {
    const message = `'${file.record.id}' is not required by the record schema: records without it become dead letters`;
    warnings.push(tree.complain(["record", "id"], message));
  }
  if (file.zones === undefined) {
    const message =
      "no zones pinned yet: `sealstream keys create` makes identities and writes them here";
    warnings.push(tree.complain(["zones"], message));
  }
  return warnings;
}
