/**
 * One candidate of the planner: which packings it carries a network in, at what price, or why it does not.
 *
 * A packing is carried when its plan fits the primes and its keys fit what topic `keys` publishes. Of two packings of
 * which only one is precise enough, the other is not offered: it must not be chosen for some pack later. Pure.
 */
import type { Circuit } from "../network/circuit.ts";
import { featureBounds } from "./feature-bounds.ts";
import {
  type PackingOutlook,
  type PackingQuestion,
  type PackingVerdict,
  packingVerdict,
} from "./packing-outlook.ts";
import type { CkksParameters, Packing } from "./parameters.ts";
import { priceOf } from "./predict-cost.ts";
import type { PredictPlan, PredictRequest, Refusal } from "./predict-plan-types.ts";

const MS_PER_SECOND = 1000;

export interface Candidate {
  readonly name: string;
  readonly parameters: CkksParameters;
}

/** A candidate that carries the network, with the packings that it carries it in. */
export interface Carrier extends Candidate {
  readonly packings: Readonly<Record<Packing, PackingOutlook | null>>;
  readonly packing: Packing;
  /** Of a record at the expected fill; `priceOf`. */
  readonly price: number;
  /** A cheaper one that was not taken, because it has no slots. */
  readonly dearerThan?: Carrier;
}

export type Reason = Pick<Refusal, "kind" | "reason">;

/** Verdicts that were found, by circuit: files that differ in rate or packing ask the same questions. */
const known = new WeakMap<Circuit, Map<string, PackingVerdict>>();

function verdictOf(packing: Packing, question: PackingQuestion): PackingVerdict {
  const { circuit, parameters, mode, precisionBits, lowest } = question;
  const found = known.get(circuit) ?? new Map<string, PackingVerdict>();
  known.set(circuit, found);
  const key = `${packing} ${parameters.id} ${mode} ${precisionBits} ${lowest}`;
  const verdict = found.get(key) ?? packingVerdict(packing, question);
  found.set(key, verdict);
  return verdict;
}

/** What a candidate is judged for; `refusals` is added to. */
export interface Task {
  readonly circuit: Circuit;
  readonly request: PredictRequest;
  readonly refusals: Refusal[];
}

/** The candidate with what it carries, or null; says in `refusals` what it does not. */
export function carry(candidate: Candidate, { circuit, request, refusals }: Task): Carrier | null {
  const { packing: wanted, model, precisionBits: goal } = request.predict;
  const judge = (packing: Packing): PackingOutlook | null => {
    if (wanted !== "auto" && wanted !== packing) return null;
    const verdict = verdictOf(packing, {
      circuit,
      parameters: candidate.parameters,
      mode: model,
      precisionBits: goal,
      lowest: featureBounds(request.features.outputs.range).lowest,
    });
    if (verdict.status === "ok") return verdict.outlook;
    refusals.push(refusal(candidate, packing, verdict));
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

/** @param packing null: the set itself */
export function refusal(
  candidate: Candidate,
  packing: Packing | null,
  { kind, reason }: Reason,
): Refusal {
  return { name: candidate.name, id: candidate.parameters.id, packing, kind, reason };
}

export function imprecise(bits: number, goal: number): Reason {
  const reason = `${bits.toFixed(1)} right bits are fewer than the ${goal} of predict.precisionBits`;
  return { kind: "precision", reason };
}

export function dear(one: Carrier, limit: number): Reason {
  const reason = `a record takes ${Math.ceil(bytesWhenFull(one))} bytes in a full pack, more than the ${limit} of encrypt.packs.maxBytesPerRecord`;
  return { kind: "bytes", reason };
}

/** Bytes of a record in a full pack of the packing that is cheaper when full: the other is for packs that are not. */
export function bytesWhenFull({ packings: { batch, slots } }: Carrier): number {
  const bytes = [batch, slots].flatMap((one) =>
    one === null ? [] : one.bytesIn / one.packRecords,
  );
  return Math.min(...bytes);
}

/** Right bits of the less precise packing. */
export function bitsOf({ packings: { batch, slots } }: Carrier): number {
  return Math.min(batch?.precisionBits ?? Infinity, slots?.precisionBits ?? Infinity);
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
export function priceAt(outlook: PackingOutlook, rows: number): number {
  const packs = Math.ceil(Math.max(1, rows) / outlook.packRecords);
  return packs * priceOf(outlook.ms, outlook.bytesIn + outlook.bytesOut);
}

/** Records that one lane gathers while a pack waits; null: the rate was not said. */
export function expectedRecords({ kafka, encrypt: { packs } }: PredictRequest): number | null {
  if (packs.rate === null) return null;
  return Math.max(1, (packs.rate / kafka.partitions) * (packs.lingerMs / MS_PER_SECOND));
}
