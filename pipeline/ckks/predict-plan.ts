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
import type { Circuit } from "../network/circuit.ts";
import { networkFromSpec } from "../network/from-spec.ts";
import { assumedCircuit, WEIGHT_ASSUMPTION } from "./assumed-circuit.ts";
import { batchOutlook, type PackingOutlook, slotsOutlook, squareDepth } from "./packing-outlook.ts";
import { PARAMETER_SETS, setName } from "./parameter-sets.ts";
import {
  type CkksParameters,
  fitsKernels,
  KERNEL_PRIME_BITS,
  type Packing,
  parseParameters,
} from "./parameters.ts";
import { priceOf } from "./predict-cost.ts";
import type {
  AtFill,
  PackingFigures,
  PlanOutcome,
  PredictPlan,
  PredictRequest,
  Refusal,
} from "./predict-plan-types.ts";

export type * from "./predict-plan-types.ts";

/** Largest published evaluation keys: a blob of topic `keys` (`crypto/key-payload.ts`). */
const MAX_EVALUATION_KEY_BYTES = 64 * 1024 * 1024;
/** Most rotation steps of one key set (`key-blob.ts`). */
const MAX_ROTATION_STEPS = 256;
/** Memory of a predict process before it has seen a pack: Node, both WebAssembly modules, clients. */
const PROCESS_MIB = 180;
const MIB = 1024 * 1024;
const MS_PER_SECOND = 1000;

interface Candidate {
  readonly name: string;
  readonly parameters: CkksParameters;
}

/** A candidate that carries the network, with the packings that it carries it in. */
interface Carrier extends Candidate {
  readonly packings: Readonly<Record<Packing, PackingOutlook | null>>;
  readonly packing: Packing;
  readonly price: number;
}

/** Plans the prediction of a pipeline file. @throws spec-invalid when the network of the file is none */
export function planPredict(request: PredictRequest): PlanOutcome {
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
  const circuit = assumedCircuit(networkFromSpec(request.features, request.train));
  const refusals: Refusal[] = [];
  const carriers = candidates.flatMap(
    (candidate) => carry(candidate, { circuit, request, refusals }) ?? [],
  );
  return choose(carriers, { circuit, request, refusals });
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
  const chosen =
    both.length > 0 ? least(both, ({ price }) => price) : least(cheap, (one) => -bitsOf(one));
  if (chosen === null) {
    const key = wanted === "auto" ? "train.network" : "predict.parameters";
    return { status: "refused", key, message: noCarrier(wanted, refusals), refusals };
  }
  for (const one of both.filter((other) => other !== chosen)) {
    const times = (one.price / chosen.price).toFixed(1);
    const reason = `it would do, and costs ${times} times as much`;
    refusals.push(refusal(one, null, { kind: "dearer", reason }));
  }
  return { status: "ok", plan: toPlan(chosen, task) };
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

/**
 * The packing of a pack with that many records: a pack that is far from full is cheaper in slots.
 * @param rows records that wait, at least 1
 */
export function cheaperPacking(rows: number, plan: Pick<PredictPlan, "packings">): Packing {
  const { batch, slots } = plan.packings;
  if (batch === null || slots === null) return batch === null ? "slots" : "batch";
  return priceAt(slots, rows) < priceAt(batch, rows) ? "slots" : "batch";
}

/** What that many records cost in this packing, in as many packs as they take. */
function priceAt(outlook: PackingOutlook, rows: number): number {
  const packs = Math.ceil(Math.max(1, rows) / outlook.packRecords);
  return packs * priceOf(outlook.ms, outlook.bytesIn + outlook.bytesOut);
}

/** Null when the file names a set that is none. */
function candidatesOf(wanted: string): readonly Candidate[] | null {
  if (wanted === "auto") return PARAMETER_SETS;
  const parameters = parseParameters(wanted);
  if (parameters === null || !fitsKernels(parameters)) return null;
  return [{ name: setName(parameters), parameters }];
}

type Reason = Pick<Refusal, "kind" | "reason">;

interface Task {
  readonly circuit: Circuit;
  readonly request: PredictRequest;
  readonly refusals: Refusal[];
}

/** The candidate with what it carries, or null; says in `refusals` what it does not. */
function carry(candidate: Candidate, { circuit, request, refusals }: Task): Carrier | null {
  const { packing: wanted, model, precisionBits: goal } = request.predict;
  const judge = (packing: Packing): PackingOutlook | null => {
    if (wanted !== "auto" && wanted !== packing) return null;
    const outlook = packing === "batch" ? batchOutlook : slotsOutlook;
    const verdict = outlook(circuit, candidate.parameters, model);
    if (verdict.status === "refused") {
      refusals.push(refusal(candidate, packing, { kind: "fit", reason: verdict.reason }));
      return null;
    }
    const tooLarge = keysFault(verdict.outlook);
    if (tooLarge === null) return verdict.outlook;
    refusals.push(refusal(candidate, packing, { kind: "keys", reason: tooLarge }));
    return null;
  };
  let batch = judge("batch");
  let slots = judge("slots");
  // Of two that fit, one that is too coarse must not be chosen for some pack later.
  if (
    batch !== null &&
    slots !== null &&
    batch.precisionBits >= goal !== slots.precisionBits >= goal
  ) {
    const coarse = batch.precisionBits < goal ? batch : slots;
    refusals.push(refusal(candidate, coarse.packing, imprecise(coarse.precisionBits, goal)));
    if (coarse === batch) batch = null;
    else slots = null;
  }
  if (batch === null && slots === null) return null;
  const packings = { batch, slots };
  const rows = expectedRecords(request) ?? batch?.packRecords ?? slots?.packRecords ?? 1;
  const packing = cheaperPacking(rows, { packings });
  const outlook = packings[packing];
  if (outlook === null) return null;
  return { ...candidate, packings, packing, price: priceAt(outlook, rows) / rows };
}

/** Evaluation keys must fit what `keys` carries. */
function keysFault({ evaluationKeyBytes, rotationSteps }: PackingOutlook): string | null {
  if (rotationSteps.length > MAX_ROTATION_STEPS) {
    return `${rotationSteps.length} rotation keys are more than the ${MAX_ROTATION_STEPS} that a key set holds`;
  }
  if (evaluationKeyBytes <= MAX_EVALUATION_KEY_BYTES) return null;
  return `evaluation keys of ${Math.ceil(evaluationKeyBytes / MIB)} MiB are more than the ${MAX_EVALUATION_KEY_BYTES / MIB} that are published`;
}

function refusal(candidate: Candidate, packing: Packing | null, { kind, reason }: Reason): Refusal {
  return { name: candidate.name, id: candidate.parameters.id, packing, kind, reason };
}

function imprecise(bits: number, goal: number): Reason {
  const reason = `${bits.toFixed(1)} right bits are fewer than the ${goal} of predict.precisionBits`;
  return { kind: "precision", reason };
}

function dear(one: Carrier, limit: number): Reason {
  const reason = `a record takes ${Math.ceil(bytesWhenFull(one))} bytes in a full pack, more than the ${limit} of encrypt.packs.maxBytesPerRecord`;
  return { kind: "bytes", reason };
}

/** Bytes of a record in a full pack of the packing that is cheaper when full: the other is for packs that are not. */
function bytesWhenFull({ packings: { batch, slots } }: Carrier): number {
  const bytes = [batch, slots].flatMap((one) =>
    one === null ? [] : one.bytesIn / one.packRecords,
  );
  return Math.min(...bytes);
}

function bitsOf({ packings: { batch, slots } }: Carrier): number {
  return Math.min(batch?.precisionBits ?? Infinity, slots?.precisionBits ?? Infinity);
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

/** Records that one lane gathers while a pack waits; null: the rate was not said. */
function expectedRecords({ kafka, encrypt: { packs } }: PredictRequest): number | null {
  if (packs.rate === null) return null;
  return Math.max(1, (packs.rate / kafka.partitions) * (packs.lingerMs / MS_PER_SECOND));
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
      ? "It is the cheapest set, in time and bytes at the expected fill, that carries the network at the precision asked for."
      : "The file names it.",
  ];
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
