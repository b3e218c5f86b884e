/**
 * Stock node-seal as a peer: the circuits of seal-peer.py, call for call, in this process.
 *
 * Weights are encoded beforehand and never timed; loading and saving are timed, with the compression SEAL chooses by
 * itself (zstd), as in the other peer.
 */
import {
  type BatchJob,
  type KeyJob,
  type PeerLayer,
  type ReplicatedJob,
  seenSlots,
} from "./cases.ts";
import type { Runner } from "./contest.ts";
import { replicatedCircuit } from "./replicated.ts";
import { openSealLab, type SealCipher, type SealLab, type SealPlain } from "./seal-lab.ts";
import type { PeerInput } from "./tenseal-peer.ts";

/** A constant in every slot, encoded at the level of `like`. */
function constant(lab: SealLab, value: number, scale: number, like: SealCipher): SealPlain {
  return vector(lab, new Float64Array(lab.slots).fill(value), scale, like);
}

function vector(lab: SealLab, values: Float64Array, scale: number, like: SealCipher): SealPlain {
  const plain = lab.plain(values, scale);
  const level = like.parmsId();
  lab.evaluator.plainModSwitchToInplace(plain, level);
  level.delete();
  return plain;
}

/** Remembers what it was asked to make, by name: the first run encodes, later ones only compute. */
function remembering<T>(): (name: string, make: () => T) => T {
  const made = new Map<string, T>();
  return (name, make) => {
    const known = made.get(name);
    if (known !== undefined) return known;
    const fresh = make();
    made.set(name, fresh);
    return fresh;
  };
}

interface DenseJob {
  readonly layer: PeerLayer;
  /** log2 of the scale of the weights. */
  readonly weightBits: number;
  readonly inputs: readonly SealCipher[];
  readonly outputs: readonly SealCipher[];
  /** Overwritten. */
  readonly product: SealCipher;
  readonly encoded: (name: string, value: number, like: SealCipher) => SealPlain;
}

function denseLayer({ evaluator }: SealLab, job: DenseJob): void {
  const { layer, weightBits, inputs, outputs, product, encoded } = job;
  for (const [row, weights] of layer.matrix.entries()) {
    const total = outputs[row]!;
    let begun = false;
    for (const [place, value] of weights.entries()) {
      // A weight that rounds to zero would make a transparent ciphertext, which SEAL refuses.
      if (Math.round(value * 2 ** weightBits) === 0) continue;
      const plain = encoded(`${row}.${place}`, value, inputs[place]!);
      evaluator.multiplyPlain(inputs[place]!, plain, begun ? product : total);
      if (begun) evaluator.addInplace(total, product);
      begun = true;
    }
  }
}

/** A ciphertext a feature: dense, square, dense. */
export async function nodeSealBatch(job: BatchJob, { layers, rows }: PeerInput): Promise<Runner> {
  const lab = await openSealLab(job.degree, job.bits, { inputBits: job.inputBits });
  const { ckks, evaluator, slots } = lab;
  const zstd = ckks.seal.ComprModeType.zstd;
  const blobs = rows[0]!.map((_, feature) => {
    const column = Float64Array.from({ length: slots }, (_, r) => rows[r % rows.length]![feature]!);
    const cipher = new ckks.seal.Ciphertext();
    lab.load(lab.encrypt(column, 2 ** job.inputBits), cipher);
    // Because embind types the result as any; it is a Uint8Array of its own buffer.
    const blob = cipher.saveToArray(zstd) as Uint8Array;
    cipher.delete();
    return blob;
  });
  const ciphers = [rows[0]!, ...layers.map(({ bias }) => bias)].map((wires) =>
    wires.map(() => lab.cipher()),
  );
  const known = remembering<SealPlain>();
  const product = lab.cipher();
  const dense = (layer: number): void => {
    const weightBits = job.weightBits[layer]!;
    denseLayer(lab, {
      layer: layers[layer]!,
      weightBits,
      inputs: ciphers[layer]!,
      outputs: ciphers[layer + 1]!,
      product,
      encoded: (name, value, like) =>
        known(`${layer}.${name}`, () => constant(lab, value, 2 ** weightBits, like)),
    });
  };
  const addBias = (layer: number): void => {
    for (const [row, cipher] of ciphers[layer + 1]!.entries())
      evaluator.addPlainInplace(
        cipher,
        known(`bias ${layer}.${row}`, () =>
          constant(lab, layers[layer]!.bias[row]!, cipher.scale(), cipher),
        ),
      );
  };
  return {
    units: slots,
    run(phases) {
      phases.start();
      for (const [feature, blob] of blobs.entries()) lab.load(blob, ciphers[0]![feature]!);
      phases.done("load");
      dense(0);
      if (job.rescale) for (const cipher of ciphers[1]!) evaluator.rescaleToNextInplace(cipher);
      addBias(0);
      phases.done("layer 1");
      for (const cipher of ciphers[1]!) {
        evaluator.squareInplace(cipher);
        if (!job.rescale) continue;
        evaluator.relinearizeInplace(cipher, lab.relinKeys);
        evaluator.rescaleToNextInplace(cipher);
      }
      phases.done("square");
      dense(1);
      addBias(1);
      phases.done("layer 2");
      for (const cipher of ciphers[2]!) cipher.saveToArray(zstd);
      phases.done("save");
    },
    logits() {
      const columns = ciphers[2]!.map((cipher) => lab.decrypt(cipher));
      return rows.slice(0, slots).map((_, row) => columns.map((column) => column[row]!));
    },
    close: lab.close,
  };
}

/** One ciphertext, replicated for the first matrix. */
export async function nodeSealReplicated(
  job: ReplicatedJob,
  { layers, rows }: PeerInput,
): Promise<Runner> {
  const { records, input, vectors, first, second, logitSlots } = replicatedCircuit(
    job,
    layers,
    rows,
  );
  const steps = [...first, ...second];
  const lab = await openSealLab(job.degree, job.bits, { inputBits: job.inputBits, steps });
  const { ckks, evaluator, galoisKeys } = lab;
  const zstd = ckks.seal.ComprModeType.zstd;
  const [cipher, turned] = [lab.cipher(), lab.cipher()];
  lab.load(lab.encrypt(Float64Array.from(input), 2 ** job.inputBits), cipher);
  // Because embind types the result as any; it is a Uint8Array of its own buffer.
  const blob = cipher.saveToArray(zstd) as Uint8Array;
  const known = remembering<SealPlain>();
  const encoded = (index: number, scale: number): SealPlain =>
    known(`${index}`, () => vector(lab, Float64Array.from(vectors[index]!), scale, cipher));
  const rotateAndAdd = (step: number): void => {
    evaluator.rotateVector(cipher, step, galoisKeys!, turned);
    evaluator.addInplace(cipher, turned);
  };
  return {
    units: records,
    run(phases) {
      phases.start();
      lab.load(blob, cipher);
      phases.done("load");
      evaluator.multiplyPlainInplace(cipher, encoded(0, 2 ** job.weightBits[0]));
      first.forEach(rotateAndAdd);
      evaluator.addPlainInplace(cipher, encoded(1, cipher.scale()));
      phases.done("layer 1");
      evaluator.squareInplace(cipher);
      evaluator.relinearizeInplace(cipher, lab.relinKeys);
      evaluator.rescaleToNextInplace(cipher);
      phases.done("square");
      evaluator.multiplyPlainInplace(cipher, encoded(2, 2 ** job.weightBits[1]));
      second.forEach(rotateAndAdd);
      evaluator.addPlainInplace(cipher, encoded(3, cipher.scale()));
      phases.done("layer 2");
      cipher.saveToArray(zstd);
      phases.done("save");
    },
    logits() {
      const values = lab.decrypt(cipher);
      return logitSlots.map((slots) => slots.map((slot) => values[slot]!));
    },
    close: lab.close,
  };
}

/** One operation with keys, over and over on the same ciphertext. */
export async function nodeSealKeys(job: KeyJob): Promise<Runner> {
  const { steps, operation, inputBits, values } = job;
  const lab = await openSealLab(job.degree, job.bits, { inputBits, steps });
  const { evaluator, galoisKeys } = lab;
  const [cipher, squared, target] = [lab.cipher(), lab.cipher(), lab.cipher()];
  lab.load(lab.encrypt(Float64Array.from(values), 2 ** inputBits), cipher);
  evaluator.square(cipher, squared);
  return {
    units: operation === "relinearize" ? 1 : steps.length,
    run(phases) {
      phases.start();
      if (operation === "relinearize") evaluator.relinearize(squared, lab.relinKeys, target);
      else for (const step of steps) evaluator.rotateVector(cipher, step, galoisKeys!, target);
      phases.done(operation);
    },
    logits: () => seenSlots(lab.decrypt(target)),
    close: lab.close,
  };
}
