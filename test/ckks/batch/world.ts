/** What the tests of the batch path share: circuits evaluated with real keys, compared with floats. */
import { createBatchEvaluator } from "../../../pipeline/ckks/batch/evaluator.ts";
import { planBatch } from "../../../pipeline/ckks/batch/plan.ts";
import type { BatchMode, BatchPlan } from "../../../pipeline/ckks/batch/program.ts";
import { checkEvaluationKeys, expandEvaluationKeys } from "../../../pipeline/ckks/key-blob.ts";
import type { CkksParameters } from "../../../pipeline/ckks/parameters.ts";
import { dataLimbs } from "../../../pipeline/ckks/parameters.ts";
import { createRing } from "../../../pipeline/ckks/ring.ts";
import {
  type CkksContext,
  openContext,
  saveUncompressed,
  withHandles,
} from "../../../pipeline/ckks/seal.ts";
import { sealFromWire, wireFromSeal } from "../../../pipeline/ckks/wire-ciphertext.ts";
import type { Circuit } from "../../../pipeline/network/circuit.ts";
import { argmax } from "../../../pipeline/network/forward.ts";
import { evaluateCircuit } from "../../../pipeline/network/lower.ts";
import { keysFor } from "../fixtures.ts";

/** node-seal, with a secret key: both ends of the path. */
export interface Ends {
  readonly ckks: CkksContext;
  readonly relinKeys: Uint8Array;
  /** [features][slots] to one wire ciphertext per feature. */
  encrypt(columns: readonly Float64Array[]): Uint8Array[];
  /** @param limbs of a result, 1 unless said */
  decrypt(blobs: readonly Uint8Array[], limbs?: number): Float64Array[];
  encryptZero(): Uint8Array;
}

const made = new Map<string, Promise<Ends>>();

/** Both ends for a parameter set, made once a file. */
export function endsFor(parameters: CkksParameters): Promise<Ends> {
  const known = made.get(parameters.id) ?? makeEnds(parameters);
  made.set(parameters.id, known);
  return known;
}

async function makeEnds(parameters: CkksParameters): Promise<Ends> {
  const ckks = await openContext(parameters);
  const ring = createRing(ckks, { maxBytes: 2 ** 27 });
  const { seal, context } = ckks;
  const keys = await keysFor(parameters);
  // Not freed: they live as long as the test file.
  const publicKey = new seal.PublicKey();
  publicKey.loadFromArray(context, keys.publicKey);
  const secretKey = new seal.SecretKey();
  secretKey.loadFromArray(context, keys.secretKey);
  const encryptor = new seal.Encryptor(context, publicKey);
  const decryptor = new seal.Decryptor(context, secretKey);
  const checked = checkEvaluationKeys(ckks, keys.evaluationKeys);
  if (checked.status !== "ok") throw new Error(checked.fault);
  const expanded = expandEvaluationKeys(ckks, checked.keys);
  if (typeof expanded === "string" || expanded.relinKeys === null) throw new Error("no relin keys");
  const { relinKeys } = expanded;
  const encoder = new seal.CKKSEncoder(context);
  const limbs = dataLimbs(parameters);
  const scale = 2 ** parameters.scaleBits;
  return {
    ckks,
    relinKeys,
    encrypt: (columns) =>
      columns.map((values) =>
        withHandles((keep) => {
          const plaintext = keep(new seal.Plaintext());
          const ciphertext = keep(new seal.Ciphertext());
          encoder.encode(values, scale, plaintext);
          encryptor.encrypt(plaintext, ciphertext);
          return wireFromSeal(ckks, ring, saveUncompressed(ckks, ciphertext), {
            polys: 2,
            limbs,
            scale,
          });
        }),
      ),
    decrypt: (blobs, over = 1) =>
      blobs.map((wire) =>
        withHandles((keep) => {
          const back = sealFromWire(ckks, ring, wire, { polys: [2, 3], limbs: over, scale: null });
          if (back.status !== "ok") throw new Error(back.fault);
          const plaintext = keep(new seal.Plaintext());
          const ciphertext = keep(new seal.Ciphertext());
          ciphertext.loadFromArray(context, back.blob);
          decryptor.decrypt(ciphertext, plaintext);
          return encoder.decodeFloat64(plaintext) as Float64Array;
        }),
      ),
    encryptZero: () =>
      withHandles((keep) => {
        const zero = keep(new seal.Ciphertext());
        encryptor.encryptZero(zero);
        return saveUncompressed(ckks, zero);
      }),
  };
}

export interface Trial {
  readonly plan: BatchPlan;
  readonly maxError: number;
  readonly precisionBits: number;
  /** Share of records with the same argmax. */
  readonly agreement: number;
  readonly blobs: readonly Uint8Array[];
}

export interface TrialOptions {
  readonly circuit: Circuit;
  readonly parameters: CkksParameters;
  readonly mode: BatchMode;
  readonly random: () => number;
  readonly maxBytes?: number;
  readonly exactOnly?: boolean;
  /** Draws a feature; uniform in [0, 1] unless said. */
  readonly draw?: () => number;
}

/** Plans, encrypts a full pack of random records, evaluates, decrypts and compares every record with floats. */
export async function tryCircuit(options: TrialOptions): Promise<Trial> {
  const { circuit, parameters, mode, random, maxBytes = 2 ** 28, exactOnly = false } = options;
  const ends = await endsFor(parameters);
  const plan = planBatch({ circuit, parameters, primes: ends.ckks.primes, mode });
  const ring = createRing(ends.ckks, { maxBytes, exactOnly });
  const relinKeys = plan.needsRelinKeys ? ring.loadRelinKeys(ends.relinKeys) : null;
  const evaluator = createBatchEvaluator({
    ring,
    parameters,
    plan,
    relinKeys,
    encryptZero: plan.needsPublicKey ? ends.encryptZero : null,
  });
  const slots = parameters.polyModulusDegree / 2;
  const draw = options.draw ?? random;
  const columns = Array.from({ length: circuit.features }, () =>
    Float64Array.from({ length: slots }, draw),
  );
  const outcome = evaluator.evaluate(ends.encrypt(columns));
  evaluator.close();
  if (outcome.status !== "ok") throw new Error(`refused: ${outcome.fault}`);
  const decrypted = ends.decrypt(outcome.blobs, plan.outputLimbs);
  let maxError = 0;
  let same = 0;
  const records = 512;
  for (let record = 0; record < records; record += 1) {
    // Over the whole pack, its last slot among them.
    const slot = slots - 1 - record * Math.floor(slots / records);
    const plain = evaluateCircuit(
      circuit,
      columns.map((column) => column[slot]!),
    );
    const logits = decrypted.map((values) => values[slot]!);
    for (const [index, value] of plain.entries()) {
      maxError = Math.max(maxError, Math.abs(value - logits[index]!));
    }
    if (argmax(plain) === argmax(logits)) same += 1;
  }
  return {
    plan,
    maxError,
    precisionBits: -Math.log2(maxError),
    agreement: same / records,
    blobs: outcome.blobs,
  };
}
