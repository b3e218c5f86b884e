/**
 * The code of each action and the block of its parameters, as the desensitize plugin reads them.
 *
 * One function an action; the grammar of the blocks is in plugins/desensitize/README.md. Rules come from a pipeline file
 * that was checked, but what the plugin could not take is refused here with the field's name.
 */
import { SealstreamError } from "../../errors.ts";
import type { DesensitizeRule, DigestForm, Generalization } from "../../spec/pipeline-spec.ts";
import { createWriter } from "./config-bytes.ts";
import type { DetectorSets } from "./config-detectors.ts";
import type { ConfigKeys } from "./config-keys.ts";
import { encodeBounds, encodeList, encodeTable, encodeWidth } from "./config-tables.ts";

const KEEP_MAX = 0xffffffff;
const DATE_CODES = { month: 0, year: 1, decade: 2 } as const;
const NOISE_CODES = { laplace: 0, gaussian: 1 } as const;
const ENCODING_CODES = { hex: 0, base64url: 1 } as const;
const utf8 = new TextEncoder();

/** An action's code and its parameters. */
export interface ActionBlock {
  readonly code: number;
  readonly block: Uint8Array;
}

type RuleOf<A extends DesensitizeRule["action"]> = Extract<DesensitizeRule, { action: A }>;

const NOTHING = new Uint8Array(0);

function wrong(field: string, what: string): SealstreamError {
  return new SealstreamError("spec-invalid", `desensitize: ${what.replace("{}", field)}`);
}

/** Words, then text. */
function blockOf(words: readonly number[], text = ""): Uint8Array {
  const writer = createWriter();
  writer.words(...words);
  writer.bytes(utf8.encode(text));
  return writer.finish();
}

function maskBlock(rule: RuleOf<"mask">): Uint8Array {
  const { field, keepFirst, keepLast } = rule;
  if ([...rule.with].length !== 1 || !rule.with.isWellFormed()) {
    throw wrong(field, "the mask of {} must be exactly one character");
  }
  if (![keepFirst, keepLast].every((n) => Number.isInteger(n) && n >= 0 && n <= KEEP_MAX)) {
    throw wrong(field, "keepFirst and keepLast of {} must be whole numbers from 0");
  }
  return blockOf([keepFirst, keepLast], rule.with);
}

/** Encoding and bytes of a digest. */
function formWords(form: DigestForm | undefined): [number, number] {
  const { encoding, bits } = form ?? { encoding: "hex", bits: 256 };
  return [ENCODING_CODES[encoding], bits / 8];
}

/** `<18`, `18-64`, `65+`: the names of the ranges around bounds. */
function rangeNames(bounds: readonly number[]): string[] {
  const name = (low: number, high: number): string =>
    low < 0 ? `${low} to ${high}` : low === high ? `${low}` : `${low}-${high}`;
  return [
    `<${bounds[0]}`,
    ...bounds.slice(1).map((bound, i) => name(bounds[i] ?? bound, bound - 1)),
    `${bounds.at(-1)}+`,
  ];
}

function generalizeAction(to: Generalization): ActionBlock {
  if ("width" in to) return { code: 6, block: encodeWidth(to.width) };
  if ("bounds" in to) return { code: 7, block: encodeBounds(to.bounds, rangeNames(to.bounds)) };
  if ("date" in to) return { code: 8, block: blockOf([DATE_CODES[to.date]]) };
  if ("prefix" in to) return { code: 9, block: blockOf([to.prefix]) };
  return { code: 10, block: encodeTable(to.table, to.unknown) };
}

function pickBlock(key: number, list: readonly string[]): Uint8Array {
  const writer = createWriter();
  writer.words(key);
  writer.bytes(encodeList(list));
  return writer.finish();
}

function perturbBlock(key: number, rule: RuleOf<"perturb">): Uint8Array {
  const reals = new DataView(new ArrayBuffer(16));
  reals.setFloat64(0, rule.scale, true);
  reals.setFloat64(8, rule.within, true);
  const writer = createWriter();
  writer.words(key, NOISE_CODES[rule.noise], rule.decimals);
  writer.bytes(new Uint8Array(reals.buffer));
  return writer.finish();
}

/**
 * The action of a rule in the plugin's words. Rules come in the order in which the plugin reads them.
 * @throws spec-invalid when it is none the plugin could take
 */
export function encodeAction(
  rule: DesensitizeRule,
  keys: ConfigKeys,
  detectors: DetectorSets,
): ActionBlock {
  switch (rule.action) {
    case "drop":
      return { code: 0, block: NOTHING };
    case "keep":
      return { code: 1, block: NOTHING };
    case "mask":
      return { code: 2, block: maskBlock(rule) };
    case "replace":
      return { code: 3, block: utf8.encode(rule.with) };
    case "pseudonymize": {
      const label = rule.keyId === undefined ? "" : `${rule.keyId}:`;
      return { code: 4, block: blockOf([keys.indexOf(rule), ...formWords(rule.form)], label) };
    }
    case "hash":
      return { code: 5, block: blockOf(formWords(rule.form)) };
    case "generalize":
      return generalizeAction(rule.to);
    case "pick":
      return { code: 11, block: pickBlock(keys.indexOf(rule), rule.from) };
    case "fake":
      return { code: 12, block: blockOf([keys.indexOf(rule)]) };
    case "perturb":
      return { code: 14, block: perturbBlock(keys.indexOf(rule), rule) };
    case "redact":
      return { code: 15, block: detectors.blockOf(rule.detectors, rule.replacement) };
    case "cluster":
      return { code: 16, block: NOTHING };
    case "fpe": {
      const { alphabet, tweak } = rule;
      return { code: 13, block: blockOf([keys.indexOf(rule), alphabet.length], alphabet + tweak) };
    }
  }
}
