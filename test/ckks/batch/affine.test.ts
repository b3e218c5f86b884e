/** Rows of integers on residues against BigInt and node-seal, bit for bit, in both variants, at the edges of the bounds. */
import { describe, expect, it } from "vitest";
import { createAffineRunner } from "../../../pipeline/ckks/batch/affine.ts";
import { groupRows } from "../../../pipeline/ckks/batch/blocks.ts";
import type { AffineOp } from "../../../pipeline/ckks/batch/program.ts";
import { MAX_ROW_WEIGHT } from "../../../pipeline/ckks/batch/rows.ts";
import { writeCiphertext } from "../../../pipeline/ckks/blob.ts";
import { type CkksParameters, createParameters } from "../../../pipeline/ckks/parameters.ts";
import { createRing, type Ring } from "../../../pipeline/ckks/ring.ts";
import { openContext, saveUncompressed, withHandles } from "../../../pipeline/ckks/seal.ts";
import { wireFromSeal } from "../../../pipeline/ckks/wire-ciphertext.ts";
import { keysFor, seeded } from "../fixtures.ts";

const MAX_BYTES = 2 ** 27;
const SETS = [createParameters(4096, [46, 46, 17], 24), createParameters(8192, [49, 20, 49], 24)];

/** [poly][limb][N] */
type Residues = BigUint64Array<ArrayBuffer>;
type Draw = (prime: bigint) => bigint;

function ciphertext(ring: Ring, limbs: number, draw: Draw): Residues {
  const words = new BigUint64Array(2 * limbs * ring.degree);
  for (let at = 0; at < words.length; at += 1) {
    words[at] = draw(ring.primes[Math.floor(at / ring.degree) % limbs]!);
  }
  return words;
}

/** Dense and sparse rows: widths 1, 4 (same columns) and more, so that blocks of every fill occur. */
function operation(
  inputs: number,
  rows: readonly number[][],
  weights: readonly number[],
  biases: bigint[],
) {
  const starts = [0];
  for (const row of rows) starts.push(starts.at(-1)! + row.length);
  return {
    kind: "affine",
    limbs: 2,
    polys: 2,
    inputs: Uint32Array.from({ length: inputs }, (_, index) => index),
    rowStarts: Uint32Array.from(starts),
    columns: Uint32Array.from(rows.flat()),
    weights: Float64Array.from(weights),
    biases,
    outputs: Uint32Array.from(rows, (_, row) => inputs + row),
  } as const;
}

/** Runs it both from ring form and from wire form; the rows' residues. */
function run(ring: Ring, parameters: CkksParameters, op: AffineOp, inputs: readonly Residues[]) {
  const shape = { polys: 2, limbs: op.limbs };
  const places = [...inputs, ...op.outputs].map(() => ring.take(ring.shapeBytes(shape)));
  const limbAt = (id: number, poly: number, limb: number) =>
    places[id]! + (poly * op.limbs + limb) * ring.limbBytes;
  for (const [index, words] of inputs.entries()) {
    expect(ring.importResidues(new Uint8Array(words.buffer), shape, places[index]!)).toBe(true);
  }
  const runner = createAffineRunner(ring, parameters, { ops: [op] });
  const ckks = { parameters };
  const wires = op.fromWire
    ? inputs.map((words) => {
        const blob = new Uint8Array(113 + words.byteLength);
        blob.set(new Uint8Array(words.buffer), 113);
        return wireFromSeal(ckks, ring, blob, { ...shape, scale: 1 });
      })
    : [];
  expect(runner.run(op, { limbAt, wires, wireLimbs: op.limbs })).toBeNull();
  return Array.from(op.outputs, (id) => {
    // Ring form is |x| <= q: nothing is hidden by the reduction of the export.
    const values = ring.floats(places[id]!, 4 * ring.degree);
    const primes = [0, 1, 0, 1].map((limb) => Number(ring.primes[limb]!));
    expect(values.every((x, at) => Math.abs(x) <= primes[Math.floor(at / ring.degree)]!)).toBe(
      true,
    );
    return new BigUint64Array(ring.exportResidues(places[id]!, shape).buffer);
  });
}

function expectExact(
  ring: Ring,
  op: AffineOp,
  inputs: readonly Residues[],
  outputs: readonly Residues[],
) {
  for (const [row, output] of outputs.entries()) {
    const from = op.rowStarts[row]!;
    const to = op.rowStarts[row + 1]!;
    // Every 5th: all places of a vector, both halves of a limb.
    for (let at = row % 5; at < output.length; at += 5) {
      const prime = ring.primes[Math.floor(at / ring.degree) % op.limbs]!;
      let sum = at < output.length / 2 ? op.biases[row]! : 0n;
      for (let entry = from; entry < to; entry += 1) {
        sum += BigInt(op.weights[entry]!) * inputs[op.columns[entry]!]![at]!;
      }
      if (output[at] !== ((sum % prime) + prime) % prime) {
        throw new Error(`row ${row}, residue ${at}`);
      }
    }
  }
}

const DRAWS: Readonly<Record<string, (random: () => number) => Draw>> = {
  random: (random) => (prime) => (BigInt(Math.floor(random() * 2 ** 53)) * 977n) % prime,
  "all q - 1": () => (prime) => prime - 1n,
  "0, 1, q / 2, q - 1": (random) => (prime) =>
    [0n, 1n, prime / 2n, prime / 2n + 1n, prime - 1n][Math.floor(random() * 5)]!,
};

describe.each(SETS)("$id", (parameters) => {
  it.each(
    Object.keys(DRAWS).flatMap((name) =>
      [true, false].map((exactOnly) => [name, exactOnly] as const),
    ),
  )("equals exact integers: %s residues, exactOnly %s", async (name, exactOnly) => {
    const ring = createRing(await openContext(parameters), { maxBytes: MAX_BYTES, exactOnly });
    const random = seeded(5);
    const count = 11;
    const all = Array.from({ length: count }, (_, index) => index);
    const rows = [all, [3], all, all, all, [1, 4, 7], [1, 4, 7], all, [0, 10]];
    const widths = rows.flatMap((row) => row.map(() => row.length));
    const most = (index: number) => Math.floor(MAX_ROW_WEIGHT / widths[index]!);
    const weights = widths.map((_, index) => {
      // The first row takes the bound, the third its negative.
      if (index < count) return most(index);
      if (index < 2 * count + 1) return -most(index);
      return Math.round((2 * random() - 1) * most(index));
    });
    const biases = [0n, -1n, 10n ** 30n, -(10n ** 30n), 5n, 6n, -(1n << 90n), 8n, 9n];
    const inputs = all.map(() => ciphertext(ring, 2, DRAWS[name]!(random)));
    for (const fromWire of [false, true]) {
      const mark = ring.mark();
      const op = { ...operation(count, rows, weights, biases), fromWire };
      expectExact(ring, op, inputs, run(ring, parameters, op, inputs));
      ring.release(mark);
    }
  });
});

it("equals node-seal's multiplyPlain and add, bit for bit", async () => {
  const parameters = SETS[0]!;
  const ckks = await openContext(parameters);
  const ring = createRing(ckks, { maxBytes: MAX_BYTES });
  const { publicKey } = await keysFor(parameters);
  const weights = [12345, -777, 30000];
  const { blobs, theirs } = withHandles((keep) => {
    const key = keep(new ckks.seal.PublicKey());
    key.loadFromArray(ckks.context, publicKey);
    const encryptor = keep(new ckks.seal.Encryptor(ckks.context, key));
    const evaluator = keep(new ckks.seal.Evaluator(ckks.context));
    const encoder = keep(new ckks.seal.CKKSEncoder(ckks.context));
    const plaintext = keep(new ckks.seal.Plaintext());
    const sum = keep(new ckks.seal.Ciphertext());
    const made = weights.map((weight, index) => {
      const term = keep(new ckks.seal.Ciphertext());
      encryptor.encryptZero(term);
      const blob = saveUncompressed(ckks, term);
      encoder.encode(new Float64Array(2048).fill(weight), 1, plaintext);
      evaluator.multiplyPlainInplace(term, plaintext);
      if (index === 0) sum.assign(term);
      else evaluator.addInplace(sum, term);
      return blob;
    });
    return { blobs: made, theirs: saveUncompressed(ckks, sum) };
  });
  const inputs = blobs.map((blob) => new BigUint64Array(blob.slice(113).buffer));
  const op = { ...operation(3, [[0, 1, 2]], weights, [0n]), fromWire: true };
  const [mine] = run(ring, parameters, op, inputs);
  const shape = { polys: 2, limbs: 2, scale: 1 };
  const written = writeCiphertext(ckks, shape, new Uint32Array(mine!.buffer));
  expect(Buffer.compare(written.subarray(113), theirs.subarray(113))).toBe(0);
});

it("rows of equal columns share a block, at most four", () => {
  const rows = [[0, 1], [2], [0, 1], [0, 1], [0, 1], [0, 1], [2]];
  const weights = rows.flat().map(() => 1);
  const op = {
    ...operation(
      3,
      rows,
      weights,
      rows.map(() => 0n),
    ),
    fromWire: false,
  };
  expect(groupRows(op).map((group) => group.rows)).toEqual([[0, 2, 3, 4], [1, 6], [5]]);
});

it("a residue of a wire that is not below its prime, and a polynomial of zeros, name the input", async () => {
  const parameters = SETS[0]!;
  const ring = createRing(await openContext(parameters), { maxBytes: MAX_BYTES });
  const { degree, primes } = ring;
  const random = seeded(8);
  const op = { ...operation(2, [[0, 1]], [1, 1], [0n]), fromWire: true };
  const good = () => ciphertext(ring, 2, DRAWS["random"]!(random));
  const faultOf = (second: Residues) => {
    const mark = ring.mark();
    const wires = [good(), second].map((words) => {
      const blob = new Uint8Array(113 + words.byteLength);
      blob.set(new Uint8Array(words.buffer), 113);
      return wireFromSeal({ parameters }, ring, blob, { polys: 2, limbs: 2, scale: 1 });
    });
    const to = ring.take(4 * ring.limbBytes);
    const limbAt = (_: number, poly: number, limb: number) =>
      to + (2 * poly + limb) * ring.limbBytes;
    const runner = createAffineRunner(ring, parameters, { ops: [op] });
    const found = runner.run(op, { limbAt, wires, wireLimbs: 2 });
    ring.release(mark);
    return found;
  };
  expect(faultOf(good())).toBeNull();
  for (const at of [0, 1, degree - 1, degree, 3 * degree + 7, 4 * degree - 1]) {
    const bad = good();
    bad[at] = primes[Math.floor(at / degree) % 2]!;
    expect(faultOf(bad)).toEqual({ place: 1, fault: "residue" });
  }
  for (const limb of [2, 3]) {
    expect(faultOf(good().fill(0n, limb * degree, (limb + 1) * degree))).toEqual({
      place: 1,
      fault: "transparent",
    });
  }
  // A first polynomial of zeros hides nothing that was not public.
  expect(faultOf(good().fill(0n, 0, 2 * degree))).toBeNull();
});
