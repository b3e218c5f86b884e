/**
 * What is measured against what: parameters, scales and levels, ours and the peers', in one place.
 *
 * A peer's circuit is ours where the case says "same"; "standard" is how the library's documentation has it done: 60-bit
 * ends, a rescale after every product. Scales are chosen so that the largest logit of the trained networks, below 2^4,
 * stays below half the last modulus.
 */
import type { Circuit } from "../../pipeline/network/circuit.ts";
import type { OurShape, SlotShape } from "./ours.ts";

/** A dense layer as peers take it. */
export interface PeerLayer {
  /** [outputs][inputs] */
  readonly matrix: readonly (readonly number[])[];
  readonly bias: readonly number[];
}

interface Shape {
  readonly degree: number;
  readonly bits: readonly number[];
  /** log2 of the scale of the features. */
  readonly inputBits: number;
}

/** A ciphertext a feature: dense, square, dense. */
export interface BatchJob extends Shape {
  readonly kind: "batch";
  /** log2 of the scale of each layer's weights. */
  readonly weightBits: readonly [number, number];
  /** Whether to relinearize, and to rescale after the first product and after the square. */
  readonly rescale: boolean;
}

/** A record a ciphertext, replicated for the first matrix. */
export interface ReplicatedJob extends Shape {
  readonly kind: "replicated";
  readonly weightBits: readonly [number, number];
}

/** TenSEAL's own tensor, which chooses everything else itself. */
export interface TensorJob extends Shape {
  readonly kind: "tensor";
}

/** An operation with keys on one ciphertext; a run does it once for each step. */
export interface KeyJob extends Shape {
  readonly kind: "keys";
  readonly operation: "rotate" | "relinearize";
  /** Rotations to the left; of a relinearization, one that stands for it. */
  readonly steps: readonly number[];
  /** What is in the slots. */
  readonly values: readonly number[];
}

export type NetworkJob = BatchJob | ReplicatedJob | TensorJob;

/** No rescale, no relinearization: 3 polynomials over both primes leave. */
export const BATCH_SMALL: BatchJob = {
  kind: "batch",
  degree: 4096,
  bits: [46, 46, 17],
  inputBits: 24,
  weightBits: [10, 11],
  rescale: false,
};

export const BATCH_STANDARD: BatchJob = {
  kind: "batch",
  degree: 8192,
  bits: [60, 30, 30, 40],
  inputBits: 30,
  weightBits: [30, 20],
  rescale: true,
};

/** Three products deep with a rescale each, which `CKKSTensor` does by itself. */
export const TENSOR: TensorJob = {
  kind: "tensor",
  degree: 8192,
  bits: [40, 30, 30, 30, 40],
  inputBits: 30,
};

const REPLICATED_LARGE: ReplicatedJob = {
  kind: "replicated",
  degree: 8192,
  bits: [48, 40, 48],
  inputBits: 20,
  weightBits: [15, 12],
};

const REPLICATED_SMALL: ReplicatedJob = {
  kind: "replicated",
  degree: 4096,
  bits: [40, 33, 36],
  inputBits: 20,
  weightBits: [10, 7],
};

/** What one ciphertext at a time is evaluated under, and beside which job of the peers. */
interface LatencyCase {
  readonly name: string;
  readonly job: ReplicatedJob;
  readonly ours: SlotShape;
  /** Largest difference of a logit that still is this network. */
  readonly mostError: number;
}

export const LATENCIES: readonly LatencyCase[] = [
  {
    name: "the peer's parameters, N=8192 [48,40,48]",
    job: REPLICATED_LARGE,
    ours: { degree: 8192, bits: [48, 40, 48], mode: "shared" },
    mostError: 0.5,
  },
  {
    // As fast, and 6 bits more precise; a native library has no use for the fourth prime.
    name: "our plan's N=8192 [49,40,30,49] beside the peer's [48,40,48]",
    job: REPLICATED_LARGE,
    ours: { degree: 8192, bits: [49, 40, 30, 49], mode: "shared" },
    mostError: 0.5,
  },
  {
    // So small a ring has no room for precise logits under these primes: nearly every argmax holds, and no more.
    name: "the peer's parameters, N=4096 [40,33,36]",
    job: REPLICATED_SMALL,
    ours: { degree: 4096, bits: [40, 33, 36], mode: "shared" },
    mostError: 6,
  },
  {
    name: "our plan's N=4096 [36,36,17,20] beside the peer's [40,33,36]",
    job: REPLICATED_SMALL,
    ours: { degree: 4096, bits: [36, 36, 17, 20], mode: "shared" },
    mostError: 6,
  },
];

/** The same parameters with the weights in the clear and encrypted. */
export const ENCRYPTED_MODEL = {
  plain: { degree: 8192, bits: [46, 34, 34, 34, 46], mode: "secret", precisionBits: 8 },
  encrypted: {
    ...{ degree: 8192, bits: [46, 34, 34, 34, 46] },
    ...{ mode: "encrypted", precisionBits: 8 },
  },
} as const satisfies Record<string, SlotShape>;

/** What our packs run under. */
export const OURS = {
  shared: { degree: 4096, bits: [46, 46, 17], inputBits: 22, mode: "shared" },
  secret: { degree: 8192, bits: [46, 46, 47], inputBits: 22, mode: "secret" },
} as const satisfies Record<string, OurShape>;

/** Networks without a peer in the same run. */
export const OTHERS = {
  breastCancer: {
    packs: OURS.shared,
    one: { degree: 8192, bits: [49, 40, 30, 49], mode: "shared" },
  },
  mlp: {
    packs: { degree: 8192, bits: [49, 49, 49], inputBits: 24, mode: "shared" },
    one: { degree: 8192, bits: [49, 40, 30, 49], mode: "shared" },
  },
  cnn: {
    packs: { degree: 8192, bits: [49, 49, 49, 49], inputBits: 22, mode: "shared" },
    one: { degree: 16384, bits: [49, 45, 45, 45, 45, 45, 49], mode: "shared" },
  },
} as const satisfies Record<string, { packs: OurShape; one: SlotShape }>;

/** Rotations of one record 64-32-10 in the replicated packing at N = 8192, two records a ciphertext. */
const ROTATION_STEPS = [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048];
/** Slots of a result that are looked at. */
const SEEN_SLOTS = 64;

const KEY_SHAPES = [
  { degree: 8192, bits: [46, 46, 46] },
  { degree: 4096, bits: [40, 33, 36] },
];

function keyJob(shape: (typeof KEY_SHAPES)[number], rest: Pick<KeyJob, "operation" | "steps">) {
  const values = Array.from({ length: shape.degree / 2 }, (_, slot) => ((7 * slot) % 13) / 13);
  return { kind: "keys", inputBits: 30, ...shape, ...rest, values } satisfies KeyJob;
}

/** Rows about keys: what peers do, and whether ours shares what the rotations have in common. */
export const KEY_CASES: readonly {
  readonly name: string;
  readonly hoisted: boolean;
  readonly job: KeyJob;
}[] = KEY_SHAPES.flatMap((shape) => {
  const suffix = `N=${shape.degree} [${shape.bits.join(",")}]`;
  const steps = ROTATION_STEPS.filter((step) => step < shape.degree / 2);
  return [
    { name: "rotate", hoisted: false, operation: "rotate", steps: [1] } as const,
    { name: "relinearize", hoisted: false, operation: "relinearize", steps: [1] } as const,
    { name: `rotate, each of ${steps.length}`, hoisted: true, operation: "rotate", steps } as const,
  ].map(({ name, hoisted, ...rest }) => ({
    name: `${name}${hoisted ? " of one ciphertext (ours hoisted)" : ""}, ${suffix}`,
    hoisted,
    job: keyJob(shape, rest),
  }));
});

/** What the first slots hold after a run, as if they were the logits of one record. */
export function keyResult({ operation, values, steps }: KeyJob): readonly (readonly number[])[] {
  const last = steps.at(-1) ?? 0;
  return [
    Array.from({ length: SEEN_SLOTS }, (_, slot) => {
      const value = values[operation === "rotate" ? (slot + last) % values.length : slot] ?? 0;
      return operation === "rotate" ? value : value ** 2;
    }),
  ];
}

/** The slots of {@link keyResult}, out of all of them. */
export function seenSlots(values: Float64Array): readonly (readonly number[])[] {
  return [[...values.subarray(0, SEEN_SLOTS)]];
}

/** The dense layers of a circuit whose steps read exactly the step before. */
export function peerLayers({ steps }: Circuit): PeerLayer[] {
  return steps.map(({ inputs, outputs, rowStarts, columns, values, bias }) => ({
    matrix: Array.from({ length: outputs }, (_, output) => {
      const row = new Array<number>(inputs.length).fill(0);
      for (let at = rowStarts[output]!; at < rowStarts[output + 1]!; at += 1)
        row[columns[at]!] = values[at]!;
      return row;
    }),
    bias: [...bias],
  }));
}
