/** Deep networks on full packs under the planner's own sets, with its assumed weights: within what was predicted. */
import { expect, it } from "vitest";
import { assumedCircuit } from "../../../pipeline/ckks/assumed-circuit.ts";
import { PARAMETER_SETS } from "../../../pipeline/ckks/parameter-sets.ts";
import { conv, dense, networkOf, pool } from "../../network/random-networks.ts";
import { seeded } from "../fixtures.ts";
import { tryCircuit } from "./world.ts";

const square = (outputs: number) => dense(outputs, "square");
const cnn = networkOf(
  64,
  [{ reshape: [8, 8, 1] }, conv(3, [3, 3], { strides: [1, 1] }), pool([2, 2]), square(8), dense(4)],
  4,
);
const rnn = networkOf(12, [{ reshape: [6, 2] }, { rnn: 4, activation: "quadratic" }, dense(3)]);
const mlp = networkOf(64, [square(16), square(16), square(16), dense(10)], 10);

it.each([
  ["convolution, square, average pool, dense, square, dense", cnn, "chain-16384-6"],
  ["recurrent, 6 steps", rnn, "chain-16384-7"],
  ["64-16-16-16-10", mlp, "chain-16384-8"],
] as const)("%s", { timeout: 120_000 }, async (_, network, name) => {
  const { parameters } = PARAMETER_SETS.find((set) => set.name === name)!;
  const trial = await tryCircuit({
    ...{ circuit: assumedCircuit(network), parameters, mode: "shared", random: seeded(5) },
  });
  expect(trial.agreement).toBeGreaterThanOrEqual(0.99);
  expect(trial.precisionBits).toBeGreaterThanOrEqual(trial.plan.precisionBits);
  expect(trial.plan.precisionBits).toBeGreaterThanOrEqual(1);
});
