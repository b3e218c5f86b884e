/**
 * How fast we train: the bare kernel beside Opacus, and train and aggregate on a real Kafka beside the bare kernel.
 */

import { tell } from "./lib/kafka-lab.ts";
import type { BenchOptions, BenchOutcome } from "./lib/report.ts";
import { kernelRows } from "./train/kernel.ts";
import { OPACUS_VERSIONS } from "./train/processes.ts";
import { streamRows } from "./train/stream.ts";

export async function bench({ quick }: BenchOptions): Promise<BenchOutcome> {
  const kernel = await kernelRows(
    quick ? { rounds: 2, turnMs: 200 } : { rounds: 9, turnMs: 1_000 },
    tell,
  );
  const stream = await streamRows(
    {
      backend: "wasm",
      ...(quick
        ? { cases: [["mlp64", 30_000]], rounds: 2, windowMs: 1_500, kernelMs: 500 }
        : {
            ...{ rounds: 9, windowMs: 3_000, kernelMs: 1_500 },
            cases: [
              ["mlp64", 500_000],
              ["mlp784", 60_000],
            ],
          }),
    },
    tell,
  );
  return {
    packages: ["@tensorflow/tfjs", "@tensorflow/tfjs-backend-wasm"],
    versions: OPACUS_VERSIONS,
    rows: [...kernel.rows, ...stream],
    missing: kernel.missing,
  };
}
