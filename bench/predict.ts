/**
 * What encrypted prediction costs: our kernels beside native SEAL, TenSEAL's own tensors and stock node-seal, on networks
 * that are trained here on real data and rows that training never saw.
 *
 * One core, CPU time, rounds in turn (bench/predict/contest.ts); parameters and scales of every case in cases.ts. Loading
 * the ciphertexts and saving the results is part of every network's figure, encrypting and decrypting of none. Everybody's
 * results are decrypted and compared with the plain network before anything is timed.
 */
import type { BenchOptions, BenchOutcome, BenchRow } from "./lib/report.ts";
import { OTHERS } from "./predict/cases.ts";
import { memoryRows } from "./predict/memory.ts";
import { breastCancerModel, digitsModel, MNIST_VERSION, mnistModels } from "./predict/models.ts";
import {
  encryptedModel,
  keyOperations,
  latencies,
  otherNetwork,
  plainAccuracy,
  type Session,
  secretPacks,
  sharedPacks,
} from "./predict/sections.ts";
import { openTenseal, TENSEAL_VERSION } from "./predict/tenseal-peer.ts";

/** What others report for one encrypted MNIST picture, on their machines. */
const MARKS = {
  mlp: ["LoLa-Dense 2.2 s, 98.95 % (Brutzkus, Elisha, Gilad-Bachrach, ICML 2019)"],
  cnn: [
    "LoLa 2.2 s (the same)",
    "TenSEAL's tutorial CNN about 2 s, 97.5 % (Benaissa et al., 2021)",
  ],
};

export async function bench({ quick }: BenchOptions): Promise<BenchOutcome> {
  const tell = console.log;
  const tenseal = await openTenseal(tell);
  const missing = typeof tenseal === "string" ? [`TenSEAL: ${tenseal}`] : [];
  const session: Session = {
    tenseal: typeof tenseal === "string" ? null : tenseal,
    rounds: quick ? 2 : 5,
    turnMs: quick ? 100 : 300,
    quick,
    tell,
  };
  try {
    const digits = digitsModel();
    const rows: BenchRow[] = [
      plainAccuracy(digits),
      ...(await sharedPacks(session, digits)),
      ...(await secretPacks(session, digits)),
      ...(await latencies(session, digits)),
      ...(await encryptedModel(session, digits)),
      ...(await keyOperations(session)),
      ...(await memoryRows(digits)),
      ...(await otherNetwork(session, breastCancerModel(), OTHERS.breastCancer)),
    ];
    const mnist = await mnistModels(
      tell,
      quick ? { epochs: 1, every: 50 } : { epochs: 4, every: 10 },
    );
    if (typeof mnist === "string") missing.push(`MNIST: ${mnist}`);
    else {
      rows.push(...(await otherNetwork(session, mnist.mlp, OTHERS.mlp, MARKS.mlp)));
      rows.push(...(await otherNetwork(session, mnist.cnn, OTHERS.cnn, MARKS.cnn)));
    }
    return {
      packages: ["node-seal", "assemblyscript"],
      versions: { tenseal: TENSEAL_VERSION, mnist: MNIST_VERSION },
      rows,
      missing,
    };
  } finally {
    session.tenseal?.close();
  }
}
