/**
 * Run by pool.test.ts under `--permission --expose-gc`: one pack through a worker, then 120 packs through the code that
 * the worker runs, with RSS after each full collection, so that what grows is the library's heap or a true leak.
 */
import { createNetworkEvaluator } from "../../pipeline/ckks/evaluate.ts";
import { encryptPack } from "../../pipeline/ckks/pack.ts";
import { createEvaluatorPool } from "../../pipeline/ckks/pool.ts";
import { keysFor, network, randomWeights, SMALL, seeded } from "./fixtures.ts";

const shape = network(16, 4);
const keys = await keysFor(SMALL);
const pack = { publicKey: keys.publicKey, parameters: SMALL, rows: 8, features: 16 };
const ciphertexts = await encryptPack({ ...pack, at: () => 0.5 });
const weights = randomWeights(shape, seeded(1));
const model = { network: shape, weights, ciphertexts };
const pool = createEvaluatorPool({});
const kind = { modelId: "m", mode: "secret", packing: "batch", form: "library" } as const;
const request = {
  ...model,
  ...kind,
  precisionBits: 4,
  records: 8,
  parameters: SMALL,
  keyId: "k",
  keys,
};
const { status } = await pool.evaluate(request);
await pool.close();
const evaluator = await createNetworkEvaluator(SMALL, keys);
const rss: number[] = [];
for (let round = 0; round < 120; round += 1) {
  if (evaluator.evaluate(model).status !== "ok") throw new Error("refused");
  globalThis.gc?.();
  rss.push(process.memoryUsage.rss());
}
console.log(JSON.stringify({ status, rss }));
