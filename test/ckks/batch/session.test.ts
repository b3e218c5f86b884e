/** Sessions: published keys in, packs of several models one after another, keys that are refused, memory that is bounded. */
import { expect, it } from "vitest";
import { createBatchSession } from "../../../pipeline/ckks/batch/session.ts";
import { createParameters } from "../../../pipeline/ckks/parameters.ts";
import { forward } from "../../../pipeline/network/forward.ts";
import { keysFor, network, randomWeights, seeded } from "../fixtures.ts";
import { endsFor } from "./world.ts";

const PARAMETERS = createParameters(8192, [46, 46, 47], 24);
const OTHER = createParameters(4096, [46, 46, 17], 24);
const random = seeded(12);
const model = (modelId: string, ...widths: [number, ...number[]]) => {
  const shape = network(...widths);
  return {
    modelId,
    network: shape,
    weights: randomWeights(shape, random),
    mode: "secret",
  } as const;
};
const INPUT = [0.5, -0.25, 1];

it("evaluates model after model, both modes, back and forth", async () => {
  const ends = await endsFor(PARAMETERS);
  const session = await createBatchSession(PARAMETERS, await keysFor(PARAMETERS));
  const wires = ends.encrypt(INPUT.map((value) => new Float64Array(4096).fill(value)));
  const [small, large] = [model("small", 3, 2), model("large", 3, 9, 4)];
  const shared = { ...large, mode: "shared" } as const;
  for (const each of [small, large, large, shared, small, large]) {
    const outcome = session.evaluate(each, wires);
    if (outcome.status !== "ok") throw new Error(outcome.fault);
    // A plan that was kept must not be that of the same model in the other mode: it would show the model.
    expect(outcome.blobs[0]![6]).toBe(each.mode === "shared" && each === shared ? 3 : 2);
    const logits = ends.decrypt(outcome.blobs).map((values) => values[99]!);
    const plain = forward(each.network, each.weights, INPUT);
    const worst = plain.reduce((most, v, at) => Math.max(most, Math.abs(v - logits[at]!)), 0);
    expect(worst).toBeLessThan(2 ** -outcome.precisionBits);
  }
  expect(session.evaluate(small, wires.slice(1))).toMatchObject({ status: "refused", feature: -1 });
  session.close();
});

it("a model that does not fit is refused, and the next one is evaluated", async () => {
  const ends = await endsFor(PARAMETERS);
  const maxBytes = 20_000_000;
  const session = await createBatchSession(PARAMETERS, await keysFor(PARAMETERS), { maxBytes });
  const wires = ends.encrypt(INPUT.map((value) => new Float64Array(4096).fill(value)));
  const limit = expect.objectContaining({ code: "limit-exceeded" });
  expect(() => session.evaluate(model("wide", 3, 64, 2), wires)).toThrow(limit);
  expect(() => session.evaluate(model("deep", 3, 2, 2, 2, 2), wires)).toThrow(limit);
  expect(session.evaluate(model("fits", 3, 4, 2), wires).status).toBe("ok");
  session.close();
});

it("keys of other parameters, or a key in the place of another, are key-invalid", async () => {
  const keys = await keysFor(PARAMETERS);
  const other = await keysFor(OTHER);
  const invalid = expect.objectContaining({ code: "key-invalid" });
  await expect(createBatchSession(OTHER, keys)).rejects.toEqual(invalid);
  for (const wrong of [
    { ...keys, publicKey: other.publicKey },
    { ...keys, publicKey: keys.secretKey },
    { ...keys, evaluationKeys: other.evaluationKeys },
    { ...keys, evaluationKeys: keys.evaluationKeys.subarray(1) },
  ]) {
    await expect(createBatchSession(PARAMETERS, wrong)).rejects.toEqual(invalid);
  }
});
