/**
 * A predict stage without Kafka, in a process of its own: the pool of killable workers, warmed up, that evaluates the packs
 * it is given and then says how much memory the process had resident at most. One for one measurement; holds no secret.
 */
import { createEvaluatorPool, type PoolRequest } from "../../pipeline/ckks/pool.ts";

/** What a machine of two cores gives the stage. */
const WORKERS = 2;

/** What the parent sends, once. */
export interface MemoryJob {
  readonly request: PoolRequest;
  readonly packs: number;
}

/** What it gets back. */
export interface MemoryReport {
  readonly workers: number;
  /** Bytes. */
  readonly mostResident: number;
}

async function run({ request, packs }: MemoryJob): Promise<MemoryReport> {
  const pool = createEvaluatorPool({ workers: WORKERS });
  const { parameters, keyId, keys, network, weights, mode, packing, form } = request;
  const sample = { network, weights, mode, packing, form };
  await pool.warmUp({ ...{ parameters, keyId, keys }, ...request, ...sample });
  // Every worker has one to evaluate, and one that waits.
  for (let done = 0; done < packs; done += 2 * WORKERS) {
    const outcomes = await Promise.all(
      Array.from({ length: 2 * WORKERS }, () => pool.evaluate(request)),
    );
    const failed = outcomes.find(({ status }) => status !== "ok");
    if (failed !== undefined) throw new Error(`a pack was ${failed.status}`);
  }
  // Kibibytes, says Node.
  const mostResident = process.resourceUsage().maxRSS * 1024;
  await pool.close();
  return { workers: WORKERS, mostResident };
}

process.once("message", (job) => {
  // Because the parent sends nothing else.
  run(job as MemoryJob).then(
    (report) => process.send?.(report, () => process.exit(0)),
    (error: unknown) => {
      console.error(error instanceof Error ? error.message : "failed");
      process.exit(1);
    },
  );
});
