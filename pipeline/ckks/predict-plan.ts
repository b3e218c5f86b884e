/**
 * The planner: from a network, a rate and a precision goal to one parameter set, its keys and its packings.
 *
 * Candidates are the named sets of `parameter-sets.ts`, or the one that the file names. A candidate carries the network
 * when at least one wanted packing fits it (secure, deep enough, keys of bounded size) and is precise enough. The
 * cheapest by time and bytes at the expected fill is taken. One set and one key set serve both packings, so that
 * `auto` can choose for every pack anew ({@link cheaperPacking}). Where no candidate is precise enough, the most
 * precise is taken and the plan says that the goal is missed.
 * Keys are made before the first model: weights are assumed (`assumed-circuit.ts`), and a model that does not fit is
 * refused when it is evaluated. Pure and reproducible: encrypt, predict and the key ceremony each make the same plan.
 */
import { SealstreamError } from "../errors.ts";
import { networkFromSpec } from "../network/from-spec.ts";
import { assumedCircuit, WEIGHT_ASSUMPTION } from "./assumed-circuit.ts";
import { featureBounds } from "./feature-bounds.ts";
import { hasSlots, type PackingOutlook, squareDepth } from "./packing-outlook.ts";
import { PARAMETER_SETS, setName } from "./parameter-sets.ts";
import {
  type CkksParameters,
  fitsKernels,
  KERNEL_PRIME_BITS,
  parseParameters,
} from "./parameters.ts";
import {
  bitsOf,
  bytesWhenFull,
  type Candidate,
  type Carrier,
  carry,
  cheaperPacking,
  dear,
  expectedRecords,
  imprecise,
  refusal,
  type Task,
} from "./plan-carrier.ts";
import type {
  AtFill,
  PackingFigures,
  PlanOutcome,
  PredictPlan,
  PredictRequest,
  Refusal,
} from "./predict-plan-types.ts";

export type * from "./predict-plan-types.ts";

/** Memory of a predict process before it has seen a pack: Node, both WebAssembly modules, clients. */
const PROCESS_MIB = 320;
/** A set that gains fewer bits than this adds no precision; after so many of them in turn no larger one is tried. */
const LEAST_GAIN_BITS = 0.5;
const MOST_IDLE = 4;
/** Below this a logit's error is as large as what argmax compares: such a set is not taken, whatever the goal. */
const LEAST_USEFUL_BITS = 1;
/** How much dearer full packs may be so that those that are not full have a cheaper way. */
const FALLBACK_WORTH = 1.5;
const MIB = 1024 * 1024;
const MS_PER_SECOND = 1000;

/** Plans that were made, by the file they were made for: a file is never changed once it is loaded. */
const known = new WeakMap<PredictRequest, PlanOutcome>();

/** Plans the prediction of a pipeline file. @throws spec-invalid when the network of the file is none */
export function planPredict(request: PredictRequest): PlanOutcome {
  const outcome = known.get(request) ?? makePlan(request);
  known.set(request, outcome);
  return outcome;
}

function makePlan(request: PredictRequest): PlanOutcome {
  if (request.predict.model === "encrypted" && request.predict.packing === "batch") {
    const message = "an encrypted model is evaluated in slots: expected auto or slots";
    return { status: "refused", key: "predict.packing", message, refusals: [] };
  }
  const { parameters: wanted } = request.predict;
  const candidates = candidatesOf(wanted);
  if (candidates === null) {
    return {
      status: "refused",
      key: "predict.parameters",
      message: `${wanted} is no parameter set of 128-bit security that our kernels evaluate (primes of at most ${KERNEL_PRIME_BITS} bits); sealstream plan lists those that are, and auto chooses`,
      refusals: [],
    };
  }
  const { scale } = featureBounds(request.features.outputs.range);
  const circuit = assumedCircuit(networkFromSpec(request.features, request.train), scale);
  const refusals: Refusal[] = [];
  const task = { circuit, request, refusals };
  return choose(carriersOf(candidates, task), task);
}

/**
 * Candidates that carry the network, the smallest first. Larger ones are not tried once one carries everything that is
 * asked for (inputs carry all data primes, so that a record costs more bytes and no less time), nor when several in
 * turn have added no precision.
 */
function carriersOf(candidates: readonly Candidate[], task: Task): Carrier[] {
  const carriers: Carrier[] = [];
  let stop: string | null = null;
  let bits = Number.NEGATIVE_INFINITY;
  let idle = 0;
  for (const candidate of candidates) {
    if (stop !== null) {
      const reason = `it was not tried: ${stop}`;
      task.refusals.push(refusal(candidate, null, { kind: "dearer", reason }));
      continue;
    }
    const carrier = carry(candidate, task);
    if (carrier === null) continue;
    carriers.push(carrier);
    idle = bitsOf(carrier) >= bits + LEAST_GAIN_BITS ? 0 : idle + 1;
    bits = Math.max(bits, bitsOf(carrier));
    if (isEnough(carrier, task)) stop = `${candidate.name} is smaller and is enough`;
    else if (idle === MOST_IDLE) stop = "larger sets add no precision";
  }
  return carriers;
}

/** Whether nothing of what the file asks for is left to a larger set. */
function isEnough(carrier: Carrier, { circuit, request: { predict } }: Task): boolean {
  const { batch, slots } = carrier.packings;
  const wantsBoth =
    predict.packing === "auto" && predict.model !== "encrypted" && hasSlots(circuit);
  const complete = !wantsBoth || (batch !== null && slots !== null);
  return complete && bitsOf(carrier) >= predict.precisionBits;
}

/** The cheapest that is precise enough and not too dear; without one, the most precise. */
function choose(carriers: readonly Carrier[], task: Task): PlanOutcome {
  const { request, refusals } = task;
  const { precisionBits: goal, parameters: wanted } = request.predict;
  const limit = request.encrypt.packs.maxBytesPerRecord;
  const precise = carriers.filter((one) => bitsOf(one) >= goal);
  const cheap = carriers.filter((one) => bytesWhenFull(one) <= limit);
  for (const one of carriers) {
    if (bitsOf(one) < goal) refusals.push(refusal(one, null, imprecise(bitsOf(one), goal)));
    if (bytesWhenFull(one) > limit) refusals.push(refusal(one, null, dear(one, limit)));
  }
  const both = precise.filter((one) => cheap.includes(one));
  const tooDear = least(precise, bytesWhenFull) ?? least(carriers, bytesWhenFull);
  if (both.length === 0 && tooDear !== null && (precise.length > 0 || cheap.length === 0)) {
    const message = `${dear(tooDear, limit).reason}, under ${tooDear.name}; raise it, use fewer features, or lower predict.precisionBits`;
    return { status: "refused", key: "encrypt.packs.maxBytesPerRecord", message, refusals };
  }
  const usable = cheap.filter((one) => bitsOf(one) >= LEAST_USEFUL_BITS);
  const chosen = both.length > 0 ? cheapest(both, request) : least(usable, (one) => -bitsOf(one));
  if (chosen === null) {
    const key = wanted === "auto" ? "train.network" : "predict.parameters";
    return { status: "refused", key, message: noCarrier(wanted, refusals), refusals };
  }
  for (const one of both.filter(({ name }) => name !== chosen.name)) {
    refusals.push(refusal(one, null, { kind: "dearer", reason: notChosen(one, chosen) }));
  }
  return { status: "ok", plan: toPlan(chosen, task) };
}

/**
 * The cheapest at the expected fill. Where the rate was not said, packs are taken to be full, but a set that can also
 * send a pack that is not as slots may cost {@link FALLBACK_WORTH} times as much.
 */
function cheapest(carriers: readonly Carrier[], request: PredictRequest): Carrier | null {
  const best = least(carriers, ({ price }) => price);
  if (best === null || expectedRecords(request) !== null) return best;
  const serveBoth = carriers.filter(
    ({ packings: { batch, slots } }) => batch !== null && slots !== null,
  );
  const second = least(serveBoth, ({ price }) => price);
  if (second === null || second === best || second.price > best.price * FALLBACK_WORTH) return best;
  return { ...second, dearerThan: best };
}

/** The plan of a pipeline file. @throws limit-exceeded when no parameter set carries its network */
export function requirePlan(request: PredictRequest): PredictPlan {
  const outcome = planPredict(request);
  if (outcome.status === "ok") return outcome.plan;
  throw new SealstreamError("limit-exceeded", `${outcome.key}: ${outcome.message}.`);
}

/** The parameter set of new keys. @throws limit-exceeded when no parameter set carries the network */
export function predictParameters(request: PredictRequest): CkksParameters {
  return requirePlan(request).parameters;
}

/** Rotations of new keys, rising. @throws limit-exceeded when no parameter set carries the network */
export function predictSteps(request: PredictRequest): readonly number[] {
  return requirePlan(request).rotationSteps;
}

/** Evaluation keys that a consumer published. */
export interface PublishedKeys {
  /** Id of their parameter set. */
  readonly parameters: string;
  readonly relin: boolean;
  readonly steps: readonly number[];
}

/**
 * The plan under keys that are there already: what encrypt and predict work by, whatever the file would choose today.
 * Under packing auto, slots are left out when their rotations have no keys.
 * @throws key-invalid when the keys no longer fit the file
 */
export function planUnder(request: PredictRequest, keys: PublishedKeys): PredictPlan {
  const outcome = planPredict(named(request, keys.parameters, request.predict.packing));
  if (outcome.status === "refused") throw staleKeys(keys, outcome.message);
  const { plan } = outcome;
  const relinMissing = plan.needsRelin && !keys.relin;
  const missing = plan.rotationSteps.filter((step) => !keys.steps.includes(step));
  if (!relinMissing && missing.length === 0) return plan;
  if (missing.length > 0 && request.predict.packing === "auto" && plan.packings.batch !== null) {
    const batch = planPredict(named(request, keys.parameters, "batch"));
    if (batch.status === "ok" && !(batch.plan.needsRelin && !keys.relin)) return batch.plan;
  }
  throw staleKeys(
    keys,
    missing.length > 0
      ? `${missing.length} of ${plan.rotationSteps.length} rotations have no key`
      : "relinearisation has no key",
  );
}

function named(
  request: PredictRequest,
  parameters: string,
  packing: PredictRequest["predict"]["packing"],
): PredictRequest {
  return { ...request, predict: { ...request.predict, parameters, packing } };
}

function staleKeys({ parameters }: PublishedKeys, reason: string): SealstreamError {
  return new SealstreamError(
    "key-invalid",
    `The consumer's published CKKS keys (${parameters}) no longer fit the pipeline file: ${reason}. Undo the change of the file, or run "sealstream keys rotate FILE ckks" for keys that fit.`,
  );
}

/** Null when the file names a set that is none. */
function candidatesOf(wanted: string): readonly Candidate[] | null {
  if (wanted === "auto") return PARAMETER_SETS;
  const parameters = parseParameters(wanted);
  if (parameters === null || !fitsKernels(parameters)) return null;
  return [{ name: setName(parameters), parameters }];
}

function notChosen(one: Carrier, chosen: Carrier): string {
  if (one.price < chosen.price)
    return "it is cheaper when packs are full, and has no slots for others";
  return `it would do, and costs ${(one.price / chosen.price).toFixed(1)} times as much`;
}

function least<T>(items: readonly T[], by: (item: T) => number): T | null {
  return items.reduce<T | null>((a, b) => (a !== null && by(a) <= by(b) ? a : b), null);
}

function noCarrier(wanted: string, refusals: readonly Refusal[]): string {
  const last = refusals.at(-1);
  const example = last === undefined ? "" : `; ${last.name}: ${last.reason}`;
  return wanted === "auto"
    ? `no parameter set carries this network${example}; use fewer or smaller layers, or activations of a lower degree`
    : `${wanted} does not carry this network${example}; use auto, or another set`;
}

function toPlan(chosen: Carrier, { circuit, request, refusals }: Task): PredictPlan {
  const { packings, packing, parameters, name } = chosen;
  const { batch, slots } = packings;
  const figures = {
    batch: batch === null ? null : figuresOf(batch, request),
    slots: slots === null ? null : figuresOf(slots, request),
  };
  const outlooks = [batch, slots].flatMap((one) => one ?? []);
  const own = figures[packing];
  const outlook = packings[packing];
  if (own === null || outlook === null) {
    throw new SealstreamError("internal", "The planner chose a packing that it had refused.");
  }
  const memory = Math.max(...outlooks.map(({ memoryBytes }) => memoryBytes));
  return {
    ...own,
    parameters,
    name,
    mode: request.predict.model,
    depth: squareDepth(circuit),
    packing,
    packings,
    figures,
    expectedRecords: expectedRecords(request),
    packRecords: outlook.packRecords,
    precisionBits: bitsOf(chosen),
    precisionGoal: request.predict.precisionBits,
    needsRelin: outlooks.some(({ needsRelin }) => needsRelin),
    rotationSteps: slots?.rotationSteps ?? [],
    evaluationKeyBytes: Math.max(...outlooks.map(({ evaluationKeyBytes }) => evaluationKeyBytes)),
    memoryMiB: PROCESS_MIB + Math.ceil(memory / MIB),
    assumption: WEIGHT_ASSUMPTION,
    reasons: reasonsOf(chosen, request),
    refusals,
  };
}

function figuresOf(outlook: PackingOutlook, request: PredictRequest): PackingFigures {
  const rows = expectedRecords(request) ?? outlook.packRecords;
  const packs = Math.ceil(rows / outlook.packRecords);
  const at = (value: number): AtFill => ({
    atFill: (packs * value) / rows,
    whenFull: value / outlook.packRecords,
  });
  return {
    bytesPerRecordIn: at(outlook.bytesIn),
    bytesPerRecordOut: at(outlook.bytesOut),
    msPerRecord: at(outlook.ms),
    latencyMs: fillTime(request, outlook.packRecords) + packs * outlook.ms,
  };
}

/** How long the first record of a pack waits for the last. */
function fillTime({ kafka, encrypt: { packs } }: PredictRequest, packRecords: number): number {
  if (packs.rate === null) return packs.lingerMs;
  const full = (packRecords / (packs.rate / kafka.partitions)) * MS_PER_SECOND;
  return Math.min(packs.lingerMs, full);
}

function reasonsOf(chosen: Carrier, request: PredictRequest): string[] {
  const { batch, slots } = chosen.packings;
  const { packing, parameters } = request.predict;
  const reasons = [
    parameters === "auto"
      ? "It is the cheapest set, in time and bytes, that carries the network at the precision asked for."
      : "The file names it.",
  ];
  const { dearerThan } = chosen;
  if (dearerThan !== undefined) {
    reasons.push(
      `Full packs cost ${(chosen.price / dearerThan.price).toFixed(1)} times as much as under ${dearerThan.name}, which has no slots for packs that are not.`,
    );
  }
  if (packing !== "auto") reasons.push(`The file asks for ${packing}.`);
  else if (batch !== null && slots !== null) {
    const turn = turningPoint(batch, slots);
    reasons.push(
      `Packs of fewer than ${turn} records go as slots, fuller ones as batch: one set of keys serves both.`,
    );
  } else {
    reasons.push(`Only ${batch === null ? "slots" : "batch"} runs under it precisely enough.`);
  }
  return reasons;
}

/** Fewest records at which batch is not dearer; all packs below go as slots. */
function turningPoint(batch: PackingOutlook, slots: PackingOutlook): number {
  let low = 1;
  let high = batch.packRecords;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (cheaperPacking(middle, { packings: { batch, slots } }) === "slots") low = middle + 1;
    else high = middle;
  }
  return low;
}
