/**
 * A plan in plain words, for a terminal: lines that each begin with what they are about, and one table.
 *
 * Says which figures are predictions. Holds no number that is not in the plan.
 */

import type { PackingOutlook } from "../../ckks/packing-outlook.ts";
import {
  type ModelMode,
  modulusBits,
  type Packing,
  parseParameters,
  publicKeyBytes,
  SECURITY_BITS,
  secureModulusBits,
} from "../../ckks/parameters.ts";
import type { PackingFigures, PredictPlan, Refusal } from "../../ckks/predict-plan.ts";
import { layerText } from "../../spec/network-layers.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import { amount, count, size } from "./units.ts";

/** Width of the first column. */
const MARGIN = 12;
/** Where no terminal says how wide it is. */
const COLUMNS = 100;
/** Narrower than this, words no longer fit beside the first column. */
const LEAST_COLUMNS = 40;

const LEARNS: Readonly<Record<ModelMode, string>> = {
  secret:
    "secret: the consumer learns its predictions. Results are relinearised, rescaled and re-randomised, so that the ciphertexts give the weights away no more; who may ask often enough can still copy a model by its answers.",
  shared:
    "shared: the consumer can compute the model's weights from the ciphertexts of about two full packs. Use model: secret where it must not.",
  encrypted:
    "encrypted: the prediction zone sees neither records nor weights; the consumer's key opens both.",
};

/** @param columns of the terminal, undefined where there is none */
export function planText(spec: PipelineSpec, plan: PredictPlan, columns?: number): string[] {
  const line = paragraph(columns);
  return [
    ...line("network", networkText(spec, plan)),
    ...line("chosen", setText(plan)),
    ...line("why", plan.reasons.join(" ")),
    ...line("model", LEARNS[plan.mode]),
    ...line("fill", fillText(spec, plan)),
    "",
    ...table(plan),
    "",
    ...levelLines(plan).flatMap((text) => line("levels", text)),
    ...line("precision", precisionText(plan)),
    ...line("keys", keysText(plan)),
    ...line(
      "memory",
      `about ${amount(plan.memoryMiB)} MiB for a predict process of one worker; more while it keeps the keys of a rotation`,
    ),
    ...line(
      "predicted",
      `all figures above, for one core, from counts of operations; bytes before Kafka's own. They assume ${plan.assumption}; a model that needs more is refused when it comes, never computed wrongly.`,
    ),
    ...notTaken(plan, columns),
  ];
}

/** Sets of larger rings than the chosen one are only counted: they cost more. */
function notTaken({ refusals, parameters }: PredictPlan, columns?: number): string[] {
  const isNear = ({ id }: Refusal): boolean => degreeOf(id) <= parameters.polyModulusDegree;
  const far = new Set(refusals.filter((one) => !isNear(one)).map(({ name }) => name));
  const rest = `${count(far.size, "set")} of larger rings, which cost more: --json names them`;
  return [
    ...refusalText(refusals.filter(isNear), columns),
    ...(far.size === 0 ? [] : paragraph(columns)("not taken", rest)),
  ];
}

function degreeOf(id: string): number {
  return parseParameters(id)?.polyModulusDegree ?? 0;
}

/** Of each ring, packing and kind of reason the last: chains of one ring differ in length only. */
export function nearestRefusals(refusals: readonly Refusal[]): Refusal[] {
  const last = new Map<string, Refusal>();
  for (const one of refusals) last.set(`${degreeOf(one.id)} ${one.packing} ${one.kind}`, one);
  return [...last.values()];
}

/** Which sets were not taken; those with one reason in common stand together. */
export function refusalText(refusals: readonly Refusal[], columns?: number): string[] {
  const line = paragraph(columns);
  const byReason = new Map<string, string[]>();
  for (const { name, packing, reason } of refusals) {
    const who = packing === null ? name : `${name} in ${packing}`;
    byReason.set(reason, [...(byReason.get(reason) ?? []), who]);
  }
  return [...byReason].flatMap(([reason, names]) =>
    line("not taken", `${listed(names)}: ${reason}`),
  );
}

const MOST_NAMES = 3;

function listed(names: readonly string[]): string {
  if (names.length <= MOST_NAMES) return names.join(", ");
  return `${names.slice(0, MOST_NAMES).join(", ")} and ${names.length - MOST_NAMES} more`;
}

function networkText(spec: PipelineSpec, plan: PredictPlan): string {
  const features = spec.features.outputs.length;
  const layers = spec.train.network.map(layerText);
  return `${[features, ...layers].join(" -> ")}; ${count(plan.depth, "product")} of ciphertexts one after the other`;
}

function setText({ parameters, name }: PredictPlan): string {
  const { polyModulusDegree: degree, coeffModulusBits } = parameters;
  const title = name === parameters.id ? name : `${name} (${parameters.id})`;
  const data = coeffModulusBits.slice(0, -1).join(" + ");
  return `${title}: ${SECURITY_BITS}-bit security, ${modulusBits(parameters)} of at most ${secureModulusBits(degree) ?? 0} bits of modulus at ring degree ${degree}; primes of ${data} bits for data, ${coeffModulusBits.at(-1)} for keys`;
}

function fillText({ encrypt: { packs }, kafka }: PipelineSpec, plan: PredictPlan): string {
  if (plan.expectedRecords === null) {
    return "encrypt.packs.rate is not in the file: packs are taken to be full";
  }
  return `${amount(packs.rate ?? 0)} records a second over ${count(kafka.partitions, "partition")}, ${amount(packs.lingerMs)} ms each: about ${count(plan.expectedRecords, "record")} at a time, which go as ${plan.packing}`;
}

function precisionText({ precisionBits, precisionGoal }: PredictPlan): string {
  const verdict = precisionBits >= precisionGoal ? "" : ", which is missed";
  return `${precisionBits.toFixed(1)} right bits behind the binary point of a logit, an error of ${amount(2 ** -precisionBits)}; the goal is ${precisionGoal}${verdict}`;
}

function keysText(plan: PredictPlan): string {
  const { needsRelin, rotationSteps, evaluationKeyBytes, parameters } = plan;
  const parts = [
    ...(needsRelin ? ["relinearisation"] : []),
    ...(rotationSteps.length > 0 ? [count(rotationSteps.length, "rotation")] : []),
  ];
  const evaluation =
    parts.length === 0 ? "none" : `${parts.join(" and ")}, ${size(evaluationKeyBytes)} published`;
  return `evaluation keys: ${evaluation}; public key ${size(publicKeyBytes(parameters))}; the secret key stays with the consumer`;
}

/** How the scale and the primes go down, step by step. */
function levelLines({ packings, parameters }: PredictPlan): string[] {
  return [packings.batch, packings.slots].flatMap((outlook) =>
    outlook === null
      ? []
      : `${outlook.packing}: ${levelText(outlook, parameters.coeffModulusBits)}`,
  );
}

function levelText(outlook: PackingOutlook, bits: readonly number[]): string {
  const left = (limbs: number): string =>
    `${bits.slice(0, limbs).reduce((sum, each) => sum + each, 0)} bits`;
  const input = `input 2^${amount(outlook.inputScaleBits)} of ${left(outlook.inputLimbs)}`;
  const steps = outlook.levels.map(
    ({ limbs, scaleBits }, index) => `step ${index + 1} 2^${amount(scaleBits)} of ${left(limbs)}`,
  );
  return [input, ...steps].join(", ");
}

const HEAD = ["packing", "records", "bytes in", "bytes out", "ms", "latency ms"];

/** Per record at the expected fill, and in a full pack where that is another figure. */
function table(plan: PredictPlan): string[] {
  const rows = (["batch", "slots"] as const).flatMap((packing) => packingRows(plan, packing));
  const cells = [HEAD, ...rows];
  const widths = HEAD.map((_, at) => Math.max(...cells.map((row) => (row[at] ?? "").length)));
  return cells.map((row) =>
    row
      .map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0)))
      .join("  ")
      .trimEnd(),
  );
}

function packingRows(plan: PredictPlan, packing: Packing): string[][] {
  const outlook = plan.packings[packing];
  const figures = plan.figures[packing];
  if (outlook === null || figures === null) return [];
  const row = (label: string, records: number, at: "atFill" | "whenFull"): string[] => [
    `${packing}, ${label}`,
    amount(records),
    ...perRecord(figures, at),
    at === "atFill" || plan.expectedRecords === null ? amount(figures.latencyMs) : "",
  ];
  const full = row("full", outlook.packRecords, "whenFull");
  if (plan.expectedRecords === null) return [full];
  return [row("expected", plan.expectedRecords, "atFill"), full];
}

function perRecord(figures: PackingFigures, at: "atFill" | "whenFull"): string[] {
  return [figures.bytesPerRecordIn, figures.bytesPerRecordOut, figures.msPerRecord].map((one) =>
    amount(one[at]),
  );
}

/** Words behind a first column, broken where the line ends. */
function paragraph(columns = COLUMNS): (label: string, text: string) => string[] {
  const width = Math.max(LEAST_COLUMNS, columns) - MARGIN;
  return (label, text) => {
    const lines: string[] = [];
    let line = "";
    for (const word of text.split(" ")) {
      if (line !== "" && line.length + 1 + word.length > width) {
        lines.push(line);
        line = word;
      } else line = line === "" ? word : `${line} ${word}`;
    }
    lines.push(line);
    return lines.map((each, index) => `${(index === 0 ? label : "").padEnd(MARGIN)}${each}`);
  };
}
