/**
 * What encrypted prediction costs: our kernels beside native SEAL and TenSEAL's own tensors, on networks that are trained
 * here on real data and rows that training never saw.
 *
 * One core, CPU time, rounds in turn (bench/predict/contest.ts); parameters and scales of every case in cases.ts. Loading
 * the ciphertexts and saving the results is part of every network's figure, encrypting and decrypting of none. Everybody's
 * results are decrypted and compared with the plain network before anything is timed.
 */
import type { BenchOptions, BenchOutcome, BenchRow } from "./lib/report.ts";
import {
  BATCH_SMALL,
  BATCH_STANDARD,
  type KeyJob,
  REPLICATED_LARGE,
  REPLICATED_SMALL,
  TENSOR,
} from "./predict/cases.ts";
import { type Contest, type Remote, type Runner, runContest } from "./predict/contest.ts";
import { digitsModel, MNIST_VERSION, type Model } from "./predict/models.ts";
import {
  NODE_SEAL,
  openNodeSeal,
  openRemote,
  openRemoteKeys,
  SEALAPI,
  TENSOR_NAME,
} from "./predict/peers.ts";
import { openTenseal, TENSEAL_VERSION, type Tenseal } from "./predict/tenseal-peer.ts";

/** What a section of the benchmark needs. */
interface Bench {
  readonly tenseal: Tenseal | null;
  readonly rounds: number;
  readonly turnMs: number;
  readonly digits: Model;
  readonly tell: (message: string) => void;
}

type Peers = Record<string, Runner | Remote>;

async function contest(
  bench: Bench,
  about: Pick<Contest, "case" | "measure"> & { mostError?: number; model?: Model },
  ours: Runner | null,
  peers: Peers,
): Promise<readonly BenchRow[]> {
  const { rounds, turnMs, tell } = bench;
  const { mostError = 0.5, model } = about;
  const plain = model === undefined ? null : repeated(model);
  const options = { rounds, turnMs, tell, mostError, plain, ours, peers };
  const { rows } = await runContest({ case: about.case, measure: about.measure, ...options });
  return rows;
}

/** Records repeat where a pack has more slots. */
function repeated({ logits }: Model): readonly Float64Array[] {
  return logits;
}

async function throughputRows(bench: Bench): Promise<BenchRow[]> {
  const { tenseal, digits: model } = bench;
  const same: Peers = { [NODE_SEAL]: await openNodeSeal(BATCH_SMALL, model) };
  if (tenseal !== null) {
    same[SEALAPI] = await openRemote(tenseal, "same", BATCH_SMALL, model);
    same[TENSOR_NAME] = await openRemote(tenseal, "tensor", TENSOR, model);
  }
  const first = await contest(
    bench,
    { case: "digits, packs, the peer's parameters", measure: "records/s", model },
    null,
    same,
  );
  const standard: Peers = { [NODE_SEAL]: await openNodeSeal(BATCH_STANDARD, model) };
  if (tenseal !== null)
    standard[SEALAPI] = await openRemote(tenseal, "standard", BATCH_STANDARD, model);
  const second = await contest(
    bench,
    { case: "digits, packs, standard parameters", measure: "records/s", model },
    null,
    standard,
  );
  return [...first, ...second];
}

async function latencyRows(bench: Bench): Promise<BenchRow[]> {
  const { tenseal, digits: model } = bench;
  const rows: BenchRow[] = [];
  for (const job of [REPLICATED_LARGE, REPLICATED_SMALL]) {
    const peers: Peers = { [NODE_SEAL]: await openNodeSeal(job, model) };
    if (tenseal !== null) peers[SEALAPI] = await openRemote(tenseal, "one", job, model);
    const about = `digits, one ciphertext, N=${job.degree} [${job.bits.join(",")}]`;
    rows.push(
      ...(await contest(bench, { case: about, measure: "ms", mostError: 20, model }, null, peers)),
    );
  }
  return rows;
}

async function keyRows(bench: Bench): Promise<BenchRow[]> {
  const { tenseal, digits: model } = bench;
  const rows: BenchRow[] = [];
  const shapes = [
    { degree: 8192, bits: [46, 46, 46] },
    { degree: 4096, bits: [40, 33, 36] },
  ];
  for (const shape of shapes) {
    for (const operation of ["rotate", "relinearize"] as const) {
      const job: KeyJob = { kind: "keys", operation, ...shape, steps: [1] };
      const peers: Peers = { [NODE_SEAL]: await openNodeSeal(job, model) };
      if (tenseal !== null) peers[SEALAPI] = await openRemoteKeys(tenseal, "keys", job);
      const about = `${operation}, N=${job.degree} [${job.bits.join(",")}]`;
      rows.push(...(await contest(bench, { case: about, measure: "ms" }, null, peers)));
    }
  }
  return rows;
}

export async function bench({ quick }: BenchOptions): Promise<BenchOutcome> {
  const tell = console.log;
  const tenseal = await openTenseal(tell);
  const missing = typeof tenseal === "string" ? [`TenSEAL: ${tenseal}`] : [];
  const opened: Bench = {
    tenseal: typeof tenseal === "string" ? null : tenseal,
    rounds: quick ? 2 : 5,
    turnMs: quick ? 100 : 300,
    digits: digitsModel(),
    tell,
  };
  try {
    const rows = [
      ...(await throughputRows(opened)),
      ...(await latencyRows(opened)),
      ...(await keyRows(opened)),
    ];
    return {
      packages: ["node-seal", "assemblyscript"],
      versions: { tenseal: TENSEAL_VERSION, mnist: MNIST_VERSION },
      rows,
      missing,
    };
  } finally {
    opened.tenseal?.close();
  }
}
