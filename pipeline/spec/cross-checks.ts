/**
 * Checks between keys of a pipeline file, and between it and the record schema.
 *
 * What a single value may be is the business of `schemas/pipeline-file.ts`; here is what the values must mean
 * together. Each check is one function that returns complaints, so that a file is told everything at once.
 */
import type { PipelineFile } from "../../schemas/pipeline-file.ts";
import type { RecordSchema } from "../../schemas/record-schema.ts";
import type { Complaint, KeyPath } from "./complaint.ts";
import { checkMaps } from "./feature-maps.ts";
import { parseIdentity } from "./identity.ts";
import type { LocatedTree } from "./located-tree.ts";
import { checkNetwork } from "./network-layers.ts";
import { checkPrivacy } from "./privacy-keys.ts";
import { typesOf } from "./read-record-schema.ts";
import { checkRecordFields } from "./record-fields.ts";
import { checkRules } from "./rule-checks.ts";
import { notInSchema, type PlacedRule, placeRules } from "./rule-fields.ts";
import { checkSubjects } from "./subject-checks.ts";
import { checkTrainer } from "./trainer-keys.ts";

/** Shares of a split are decimal fractions such as 0.1, which binary floating point does not add up exactly. */
const SPLIT_TOLERANCE = 1e-9;
/** One ciphertext per input: above this a pack no longer fits a transaction of sensible size. */
const MAX_INPUTS = 4096;
/** A name, an IPv4 address or a bracketed IPv6 address, and a port. */
const BROKER = /^(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})$/;

/** `host:port` each, from a comma-separated text or a list; null when one is neither. */
export function parseBrokers(brokers: string | readonly string[]): string[] | null {
  const list = typeof brokers === "string" ? brokers.split(",") : brokers;
  const named = list.map((broker) => broker.trim()).filter((broker) => broker !== "");
  const good = named.every((broker) => {
    const port = Number(BROKER.exec(broker)?.[1]);
    return port >= 1 && port <= 65_535;
  });
  return good ? named : null;
}

/** Everything that does not fit together. @param schema null when the record schema could not be read */
export function crossCheck(
  file: PipelineFile,
  schema: RecordSchema | null,
  tree: LocatedTree,
): Complaint[] {
  const rules = placeRules(file);
  return [
    ...checkBrokers(file, tree),
    ...checkSecurity(file, tree),
    ...checkRules(file, rules, schema, tree),
    ...checkNamingFields(file, rules, schema, tree),
    ...checkSubjects(file, tree),
    ...checkFeatures(file, rules, schema, tree),
    ...checkMaps(file, tree, MAX_INPUTS),
    ...checkSplit(file, tree),
    ...checkRecordFields(file, rules, schema, tree),
    ...checkTraining(file, tree),
    ...checkTrainer(file, tree),
    ...checkPrivacy(file, tree),
    ...checkNetwork(file, tree),
    ...checkZones(file, tree),
  ];
}

function checkBrokers(file: PipelineFile, tree: LocatedTree): Complaint[] {
  if (parseBrokers(file.kafka.brokers) !== null) return [];
  return [tree.complain(["kafka", "brokers"], "expected host:port, separated by commas")];
}

/** A certificate and its key come together, and a password never crosses the network in clear. */
function checkSecurity(file: PipelineFile, tree: LocatedTree): Complaint[] {
  const { tls, sasl } = file.kafka;
  const complaints: Complaint[] = [];
  if (
    typeof tls === "object" &&
    (tls.certificate === undefined) !== (tls.privateKey === undefined)
  ) {
    complaints.push(
      tree.complain(["kafka", "tls"], "expected certificate and privateKey together"),
    );
  }
  if (tls === undefined && (sasl?.mechanism === "plain" || sasl?.mechanism === "oauthbearer")) {
    const message = `${sasl.mechanism} sends its secret over the network: expected kafka.tls beside it`;
    complaints.push(tree.complain(["kafka", "sasl", "mechanism"], message));
  }
  return complaints;
}

/** The record id becomes the record key, the subject the input of the split: both leave the zone. */
function checkNamingFields(
  file: PipelineFile,
  rules: readonly PlacedRule[],
  schema: RecordSchema | null,
  tree: LocatedTree,
): Complaint[] {
  const complaints: Complaint[] = [];
  for (const name of ["id", "subject"] as const) {
    const field = file.record[name];
    if (field === undefined) continue;
    const path = ["record", name];
    const property = schema?.properties[field];
    if (schema !== null && property === undefined) {
      complaints.push(tree.complain(path, notInSchema(field, schema)));
    } else if (property !== undefined && typesOf(property).join() !== "string") {
      complaints.push(tree.complain(path, `expected a field of type string in the record schema`));
    }
    const action = rules.find((rule) => rule.field === field)?.rule.action;
    if (action !== "keep" && action !== "pseudonymize") {
      const now = action === undefined ? "it has none" : `it is ${action}`;
      const message = `'${field}' needs the rule keep or pseudonymize; ${now}`;
      complaints.push(tree.complain(path, message));
    }
  }
  return complaints;
}

function checkFeatures(
  file: PipelineFile,
  rules: readonly PlacedRule[],
  schema: RecordSchema | null,
  tree: LocatedTree,
): Complaint[] {
  const complaints: Complaint[] = [];
  const used = new Set<string>();
  const check = (field: string, path: KeyPath, wanted: readonly string[]): void => {
    if (used.has(field)) complaints.push(tree.complain(path, `'${field}' is used above already`));
    used.add(field);
    const rule = rules.find((one) => one.field === field)?.rule;
    // Noise and means leave a number a number; labels are compared, so they are kept.
    const staysNumber =
      rule?.action === "perturb" || (rule?.action === "cluster" && rule.publish === "mean");
    if (rule?.action !== "keep" && !(staysNumber && path.includes("inputs"))) {
      complaints.push(tree.complain(path, `'${field}' needs the rule keep`));
    }
    const property = schema?.properties[field];
    if (schema !== null && property === undefined) {
      complaints.push(tree.complain(path, notInSchema(field, schema)));
    } else if (property !== undefined && !typesOf(property).some((type) => wanted.includes(type))) {
      const message = `expected type ${wanted.join(" or ")} in the record schema, found ${typesOf(property).join(" or ")}`;
      complaints.push(tree.complain(path, message));
    }
  };
  let inputs = 0;
  for (const [index, input] of file.features.inputs.entries()) {
    const path = ["features", "inputs", index];
    check(input.field, [...path, "field"], input.length > 1 ? ["array"] : ["number", "integer"]);
    if (!(input.range[0] < input.range[1])) {
      complaints.push(
        tree.complain([...path, "range"], "expected [lowest, highest], lowest below highest"),
      );
    }
    inputs += input.length;
  }
  check(file.features.label.field, ["features", "label", "field"], ["integer", "number"]);
  if (inputs > MAX_INPUTS) {
    const message = `expected at most ${MAX_INPUTS} numbers in all, found ${inputs}`;
    complaints.push(tree.complain(["features", "inputs"], message));
  }
  return complaints;
}

function checkSplit(file: PipelineFile, tree: LocatedTree): Complaint[] {
  const { train, validate, test } = file.features.split;
  const complaints: Complaint[] = [];
  const sum = train + validate + test;
  if (Math.abs(sum - 1) > SPLIT_TOLERANCE) {
    const message = `expected shares that sum to 1, found ${Number(sum.toPrecision(6))}`;
    complaints.push(tree.complain(["features", "split"], message));
  }
  if (train === 0) {
    complaints.push(tree.complain(["features", "split", "train"], "expected more than 0"));
  }
  return complaints;
}

function checkTraining(file: PipelineFile, tree: LocatedTree): Complaint[] {
  const { microBatchRecords, updateBatchRecords } = file.train;
  if (updateBatchRecords % microBatchRecords === 0) return [];
  const message = `expected a multiple of microBatchRecords (${microBatchRecords}), found ${updateBatchRecords}`;
  return [tree.complain(["train", "updateBatchRecords"], message)];
}

function checkZones(file: PipelineFile, tree: LocatedTree): Complaint[] {
  const complaints: Complaint[] = [];
  const seen = new Map<string, string>();
  for (const [zone, pins] of Object.entries(file.zones ?? {})) {
    for (const [index, text] of [pins ?? []].flat().entries()) {
      const path = Array.isArray(pins) ? ["zones", zone, index] : ["zones", zone];
      if (parseIdentity(text) === null) {
        complaints.push(tree.complain(path, "expected ed25519: and 32 bytes in base64url"));
      }
      const twin = seen.get(text);
      if (twin !== undefined) {
        complaints.push(tree.complain(path, `expected another identity than zone ${twin}`));
      }
      seen.set(text, zone);
    }
  }
  return complaints;
}
