/**
 * The replicated packing of a network dense, square, dense, as peers evaluate it: whole vectors and rotation steps.
 *
 * Slot (i H + j) R + r holds feature i of record r, for every hidden unit j < H: the first matrix is one product, and
 * log2(D) rotate-and-adds bring its sums into every block i. The second matrix is laid into the blocks, class i in block
 * i, so that log2(H) rotate-and-adds leave class i's logit of record r in slot i H R + r. D and H are rounded up to
 * powers of two; R = slots / (D H) records share a ciphertext.
 */
import type { PeerLayer, ReplicatedJob } from "./cases.ts";

export interface ReplicatedCircuit {
  /** Records in the ciphertext: R. */
  readonly records: number;
  readonly input: readonly number[];
  /** First matrix, first bias, second matrix, second bias. */
  readonly vectors: readonly (readonly number[])[];
  /** Steps of the rotate-and-adds behind the first and behind the second matrix. */
  readonly first: readonly number[];
  readonly second: readonly number[];
  /** Per record the slots of its logits. */
  readonly logitSlots: readonly (readonly number[])[];
}

function powerOfTwo(least: number): number {
  return 2 ** Math.ceil(Math.log2(least));
}

/** `from`, twice that and so on, below `to`. */
function doublings(from: number, to: number): number[] {
  const steps: number[] = [];
  for (let step = from; step < to; step *= 2) steps.push(step);
  return steps;
}

/** @param layers two; `rows` at least as many as records share a ciphertext */
export function replicatedCircuit(
  { degree }: Pick<ReplicatedJob, "degree">,
  layers: readonly PeerLayer[],
  rows: readonly (readonly number[])[],
): ReplicatedCircuit {
  const [hidden, last] = [layers[0]!, layers[1]!];
  const slots = degree / 2;
  const [blocks, units] = [powerOfTwo(rows[0]!.length), powerOfTwo(hidden.matrix.length)];
  const records = slots / (blocks * units);
  if (records < 1 || layers.length !== 2) throw new Error("the network does not fit the packing");
  const fill = (value: (i: number, j: number, r: number) => number | undefined): number[] =>
    Array.from({ length: slots }, (_, slot) => {
      const block = Math.floor(slot / (units * records));
      return value(block, Math.floor(slot / records) % units, slot % records) ?? 0;
    });
  return {
    records,
    input: fill((i, _, r) => rows[r]![i]),
    vectors: [
      fill((i, j) => hidden.matrix[j]?.[i]),
      fill((_, j) => hidden.bias[j]),
      fill((i, j) => last.matrix[i]?.[j]),
      fill((i, j) => (j === 0 ? last.bias[i] : 0)),
    ],
    first: doublings(units * records, slots),
    second: doublings(records, units * records),
    logitSlots: Array.from({ length: records }, (_, r) =>
      last.bias.map((_bias, i) => i * units * records + r),
    ),
  };
}
