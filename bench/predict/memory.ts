/**
 * How much memory a predict process has resident at most, while it evaluates full packs of the digits network in its pool
 * of workers (memory-worker.ts). Keys and ciphertexts are made here and sent: the process makes none.
 */
import { fork } from "node:child_process";
import { join } from "node:path";
import { createConsumerKeys } from "../../pipeline/ckks/keys.ts";
import { dataLimbs } from "../../pipeline/ckks/parameters.ts";
import { createRing } from "../../pipeline/ckks/ring.ts";
import { wireFromSeal } from "../../pipeline/ckks/wire-ciphertext.ts";
import { type BenchRow, rowOf } from "../lib/report.ts";
import { OURS } from "./cases.ts";
import type { MemoryJob, MemoryReport } from "./memory-worker.ts";
import type { Model } from "./models.ts";
import type { OurShape } from "./ours.ts";
import { openSealLab } from "./seal-lab.ts";

const WORKER = join(import.meta.dirname, "memory-worker.ts");
const TIMEOUT_MS = 120_000;
const RING_BYTES = 64 * 1024 * 1024;

/** A full pack of one record over and over: what is in the slots takes no more or less memory. */
async function jobFor({ network, weights, heldOut }: Model, shape: OurShape): Promise<MemoryJob> {
  const { degree, bits, inputBits, mode } = shape;
  const lab = await openSealLab(degree, bits, { inputBits });
  try {
    const { parameters } = lab.ckks;
    const { publicKey, evaluationKeys } = await createConsumerKeys(parameters);
    const ring = createRing(lab.ckks, { maxBytes: RING_BYTES });
    const limbs = dataLimbs(parameters);
    const ciphertexts = [...heldOut[0]!.features].map((value) => {
      const scale = 2 ** inputBits;
      const blob = lab.encrypt(new Float64Array(lab.slots).fill(value), scale);
      return wireFromSeal(lab.ckks, ring, blob, { polys: 2, limbs, scale });
    });
    const pack = { network, weights, mode, packing: "batch", form: "wire" } as const;
    const wanted = { precisionBits: 4, records: lab.slots };
    return {
      request: {
        ...{ parameters, keyId: "bench", keys: { publicKey, evaluationKeys } },
        ...{ modelId: "digits", ...pack, ...wanted, ciphertexts },
      },
      packs: 16,
    };
  } finally {
    lab.close();
  }
}

function askWorker(job: MemoryJob): Promise<MemoryReport> {
  return new Promise((resolve, reject) => {
    const child = fork(WORKER, { serialization: "advanced", timeout: TIMEOUT_MS });
    // Because the worker sends nothing else.
    child.once("message", (report) => resolve(report as MemoryReport));
    child.once("exit", () => reject(new Error("the process of the predict pool ended")));
    child.send(job);
  });
}

export async function memoryRows(model: Model): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  for (const [name, shape] of [
    ["model shared", OURS.shared],
    ["model secret", OURS.secret],
  ] as const) {
    const { workers, mostResident } = await askWorker(await jobFor(model, shape));
    const about = `${model.name}, full packs, ${name}: most memory of a predict process, ${workers} workers`;
    const unit = { unit: "MiB", rounds: 1, better: "less" } as const;
    rows.push(rowOf({ case: about, ...unit }, mostResident / 2 ** 20, {}));
  }
  return rows;
}
