/**
 * Names that a pipeline file may know from the design but that this version does not have yet.
 *
 * They are refused by name, so that nobody believes a protection is on because the file asks for it. When a
 * version gains one, its line leaves this table and enters `schemas/pipeline-file.ts`.
 */
import type { KeyPath } from "./complaint.ts";

/** Values by path, list indices written `[]`. */
const LATER_VALUES: Readonly<Record<string, readonly string[]>> = {
  "desensitize[].action": ["encrypt", "tokenize", "plugin"],
  "kafka.compression": ["snappy", "lz4"],
  "train.backend": ["gpu", "cuda"],
  "train.protect": ["masked", "shares", "secagg", "secure-aggregation", "ckks", "local", "none"],
  "train.network[].activation": ["softmax", "elu", "gelu", "swish"],
  "predict.packing": ["replicated", "diagonal", "bsgs", "latency"],
};

/** Keys by the path of the object they stand in. */
const LATER_KEYS: Readonly<Record<string, readonly string[]>> = {
  "": ["observe", "metrics", "client", "kms", "federation", "parties"],
  kafka: ["clientId"],
  record: ["format", "registry"],
  "desensitize[]": ["plugin", "unless"],
  features: ["map", "scattering", "projection", "fourier", "standardize", "categories"],
  "features.inputs[]": ["categories", "map", "standardize", "missing"],
  "features.label": ["range", "values"],
  "encrypt.packs": ["fill", "consumers", "deadlineMs"],
  train: ["augment", "parties", "views", "epochs"],
  "train.network[]": ["batchNorm", "bidirectional", "attention", "dropout"],
  privacy: ["mechanism", "correlation"],
  predict: ["encryptWeights", "secretModel", "activation"],
  zones: ["parties"],
};

function tablePath(path: KeyPath): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += "[]";
    else text += text === "" ? part : `.${part}`;
  }
  return text;
}

/** Whether a later version has this value here. */
export function isLaterValue(path: KeyPath, value: unknown): boolean {
  return typeof value === "string" && (LATER_VALUES[tablePath(path)] ?? []).includes(value);
}

/** Whether a later version has this key in the object at `path`. */
export function isLaterKey(path: KeyPath, key: string): boolean {
  return (LATER_KEYS[tablePath(path)] ?? []).includes(key);
}
