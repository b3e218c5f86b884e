/** Wire packs through the engine that a worker runs: both packings and modes, against floats, and what is refused. */
import { afterEach, expect, test } from "vitest";
import { assumedCircuit } from "../../pipeline/ckks/assumed-circuit.ts";
import { createPredictionDecryptor } from "../../pipeline/ckks/decrypt.ts";
import { createPackEngine, type PackEngine, type PackRequest } from "../../pipeline/ckks/engine.ts";
import { type ConsumerKeys, createConsumerKeys } from "../../pipeline/ckks/keys.ts";
import { createWirePacker, type PackLayout } from "../../pipeline/ckks/pack-wire.ts";
import { type CkksParameters, createParameters } from "../../pipeline/ckks/parameters.ts";
import { primesOf } from "../../pipeline/ckks/primes.ts";
import { encryptModelFile } from "../../pipeline/ckks/slots/encrypted-model-file.ts";
import { slotLayout } from "../../pipeline/ckks/slots/layout.ts";
import { planSlots, slotInputScaleBits } from "../../pipeline/ckks/slots/plan.ts";
import { lowerNetwork } from "../../pipeline/network/lower.ts";
import { compare, network, randomWeights, seeded } from "./fixtures.ts";

const FEATURES = 8;
const shape = network(FEATURES, 4, 3);
const weights = randomWeights(shape, seeded(3));
const GOAL = 4;

const engines: PackEngine[] = [];
afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.close();
});

function matrixOf(rows: number): Float32Array {
  const random = seeded(rows);
  return Float32Array.from({ length: rows * FEATURES }, () => random());
}

interface Setup {
  readonly parameters: CkksParameters;
  readonly keys: ConsumerKeys;
  readonly engine: PackEngine;
}

function setUp(parameters: CkksParameters, keys: ConsumerKeys): Setup {
  const engine = createPackEngine(parameters, keys);
  engines.push(engine);
  return { parameters, keys, engine };
}

async function requestOf(
  { parameters, keys }: Setup,
  { how, rows, mode }: { how: PackLayout; rows: number; mode: PackRequest["mode"] },
): Promise<PackRequest> {
  const packer = await createWirePacker(parameters);
  const given = { publicKey: keys.publicKey, rows, features: FEATURES, how };
  const ciphertexts = await packer.pack({ ...given, matrix: matrixOf(rows) });
  const model = { modelId: "m", network: shape, weights, mode, precisionBits: GOAL };
  return { ...model, packing: how.packing, form: "wire", records: rows, ciphertexts };
}

async function expectRight(setup: Setup, request: PackRequest) {
  const outcome = await setup.engine.evaluate(request);
  if (outcome.status !== "ok") throw new Error(outcome.fault);
  const { secretKey } = setup.keys;
  const decryptor = await createPredictionDecryptor({ secretKey, parameters: setup.parameters });
  const { blobs: parts, layout } = outcome;
  const rows = request.records;
  const opened = decryptor.decrypt({
    parts,
    rows,
    classes: 3,
    layout: { ...layout, form: "wire" },
  });
  decryptor.close();
  if (opened.status !== "ok") throw new Error(opened.fault);
  const found = compare(shape, weights, matrixOf(rows), opened.logits);
  expect(found.precisionBits).toBeGreaterThan(layout.precisionBits - 0.5);
  return { outcome, found };
}

/** Keys for slots packs of the network, and how an owner packs. */
async function slotsOf(parameters: CkksParameters, mode: "secret" | "shared") {
  const primes = primesOf(parameters);
  const goal = { mode, precisionBits: GOAL };
  const assumed = assumedCircuit(shape);
  const scaleBits = slotInputScaleBits(assumed, parameters, primes, goal);
  const outcome = slotLayout(assumed, parameters);
  if (outcome.status !== "ok") throw new Error("no layout");
  const plan = planSlots(lowerNetwork(shape, weights), parameters, primes, {
    ...{ ...goal, inputScaleBits: scaleBits },
  });
  const keys = await createConsumerKeys(parameters, { steps: plan.rotationSteps });
  const how = { packing: "slots", layout: outcome.layout, scaleBits } as const;
  return { setup: setUp(parameters, keys), how };
}

const SHARED = createParameters(4096, [46, 46, 17], 24);
const SLOTS = createParameters(8192, [49, 40, 30, 49], 24);

test("batch, shared: full and partial packs, three polynomials, no more bytes than planned", async () => {
  const setup = setUp(SHARED, await createConsumerKeys(SHARED));
  for (const rows of [1, 5, 2048]) {
    const how = { packing: "batch" } as const;
    const request = await requestOf(setup, { how, rows, mode: "shared" });
    expect(request.ciphertexts.map(({ length }) => length)).toEqual(
      Array.from({ length: FEATURES }, () => 16 + 2 * 2 * 46 * 512),
    );
    const { outcome } = await expectRight(setup, request);
    expect(outcome.blobs.map(({ length }) => length)).toEqual(
      Array.from({ length: 3 }, () => 16 + 3 * 46 * 512),
    );
  }
});

test("both packings of one model in turn, with one set of keys", async () => {
  const { setup, how } = await slotsOf(SLOTS, "shared");
  const slots = await requestOf(setup, {
    how,
    rows: how.layout.recordsPerPack + 1,
    mode: "shared",
  });
  expect(slots.ciphertexts).toHaveLength(2);
  const batch = await requestOf(setup, { how: { packing: "batch" }, rows: 9, mode: "shared" });
  for (const request of [slots, batch, slots]) await expectRight(setup, request);
});

test("a plan that was kept for one mode is not that of the same model in the other: it would show the model", async () => {
  const deep = createParameters(8192, [46, 46, 47], 24);
  const setup = setUp(deep, await createConsumerKeys(deep));
  const how = { packing: "batch" } as const;
  const shared = await requestOf(setup, { how, rows: 2, mode: "shared" });
  const secret = { ...shared, mode: "secret" } as const;
  const polys: (number | undefined)[] = [];
  for (const request of [shared, secret, shared, secret, secret]) {
    const { outcome } = await expectRight(setup, request);
    polys.push(outcome.blobs[0]?.[6]);
  }
  expect(polys).toEqual([3, 2, 3, 2, 2]);
});

test("a scale that no model fits is the fault of the pack that says it, not of the model", async () => {
  const { setup, how } = await slotsOf(SLOTS, "shared");
  const good = await requestOf(setup, { how, rows: 1, mode: "shared" });
  const seen = new Set<string>();
  for (const bits of [8, 9, 40, 46, 50]) {
    const wire = Uint8Array.from(good.ciphertexts[0]!);
    new DataView(wire.buffer).setFloat64(8, 2 ** bits, true);
    // Never a refusal of the model, which would be refused to every owner then.
    const outcome = await setup.engine.evaluate({ ...good, ciphertexts: [wire] });
    seen.add(outcome.status);
  }
  expect(seen.has("refused")).toBe(true);
  expect(await setup.engine.evaluate(good)).toMatchObject({ status: "ok" });
});

test("ciphertexts above one message: a ring of 16,384", async () => {
  const parameters = createParameters(16_384, [48, 48, 48, 48, 48, 48, 49], 30);
  const setup = setUp(parameters, await createConsumerKeys(parameters));
  const how = { packing: "batch" } as const;
  const request = await requestOf(setup, { how, rows: 3, mode: "secret" });
  expect(request.ciphertexts[0]!.length).toBe(16 + 2 * 6 * 48 * 2048);
  expect(request.ciphertexts[0]!.length).toBeGreaterThan(2 ** 20);
  await expectRight(setup, request);
});

test("keys without the rotations of the network refuse a slots pack and no batch pack", async () => {
  const { how } = await slotsOf(SLOTS, "shared");
  const setup = setUp(SLOTS, await createConsumerKeys(SLOTS, { steps: [1] }));
  const slots = await requestOf(setup, { how, rows: 1, mode: "shared" });
  expect(await setup.engine.evaluate(slots)).toEqual({
    status: "refused",
    part: -1,
    fault: "steps",
  });
  await expectRight(
    setup,
    await requestOf(setup, { how: { packing: "batch" }, rows: 1, mode: "shared" }),
  );
});

test("what is refused is an outcome, and the engine goes on", async () => {
  const setup = setUp(SHARED, await createConsumerKeys(SHARED));
  const how = { packing: "batch" } as const;
  const good = await requestOf(setup, { how, rows: 2, mode: "shared" });
  const changed = (change: (blob: Uint8Array) => Uint8Array): PackRequest => ({
    ...good,
    ciphertexts: good.ciphertexts.map((blob, part) => (part === 5 ? change(blob.slice()) : blob)),
  });
  const cases: [string, PackRequest][] = [
    ["count", { ...good, ciphertexts: good.ciphertexts.slice(1) }],
    ["length", changed((blob) => blob.subarray(0, blob.length - 1))],
    ["length", changed(() => new Uint8Array(0))],
    ["wire-header", changed((blob) => blob.fill(0, 0, 4))],
    ["shape", changed((blob) => blob.fill(3, 6, 7))],
    ["scale", changed((blob) => blob.fill(0xff, 8, 16))],
    ["residue", changed((blob) => blob.fill(0xff, 16, 16 + 46))],
    ["transparent", changed((blob) => blob.fill(0, 16 + 2 * 46 * 512))],
  ];
  for (const [fault, request] of cases) {
    expect(await setup.engine.evaluate(request), fault).toMatchObject({ status: "refused", fault });
  }
  await expectRight(setup, good);
});

test("models in turn: each is planned once more, and none leaves memory behind", async () => {
  const setup = setUp(SHARED, await createConsumerKeys(SHARED));
  const how = { packing: "batch" } as const;
  const good = await requestOf(setup, { how, rows: 2, mode: "shared" });
  for (let round = 0; round < 40; round += 1) {
    const outcome = await setup.engine.evaluate({ ...good, modelId: `m${round % 7}` });
    expect(outcome.status).toBe("ok");
  }
});

test("batch packs that carry only the primes that are read, in both modes, beside packs that carry all", async () => {
  const setup = setUp(SLOTS, await createConsumerKeys(SLOTS));
  const bytes = [16 + 2 * 89 * 1024, 16 + 2 * 119 * 1024];
  for (const mode of ["shared", "secret"] as const) {
    for (const [at, limbs] of [2, 3].entries()) {
      const how = { packing: "batch", limbs } as const;
      const request = await requestOf(setup, { how, rows: 5, mode });
      expect(request.ciphertexts.every(({ length }) => length === bytes[at])).toBe(true);
      await expectRight(setup, request);
    }
  }
});

test("primes that a pack lacks, and parts of other primes than the first, are the pack's fault", async () => {
  const setup = setUp(SLOTS, await createConsumerKeys(SLOTS));
  const packs = await Promise.all(
    [1, 2, 3].map((limbs) =>
      requestOf(setup, { how: { packing: "batch", limbs }, rows: 2, mode: "shared" }),
    ),
  );
  const [one, two, three] = packs;
  if (one === undefined || two === undefined || three === undefined) throw new Error("no packs");
  const refusal = { status: "refused", part: -1, fault: "shape" };
  expect(await setup.engine.evaluate(one)).toEqual(refusal);
  for (const [first, rest] of [
    [two, three],
    [three, two],
  ] as const) {
    const ciphertexts = [...first.ciphertexts.slice(0, 4), ...rest.ciphertexts.slice(4)];
    const mixed = await setup.engine.evaluate({ ...first, ciphertexts });
    expect(mixed).toEqual({ status: "refused", part: 4, fault: "shape" });
  }
  for (const limbs of [0, 4, 255]) {
    const [head, ...rest] = two.ciphertexts;
    const ciphertexts = [head!.slice().fill(limbs, 7, 8), ...rest];
    const outcome = await setup.engine.evaluate({ ...two, ciphertexts });
    expect(outcome).toEqual({ status: "refused", part: 0, fault: "shape" });
  }
  await expectRight(setup, two);
});

test("a model whose weights need a prime that a pack does not carry is refused as a model", async () => {
  const parameters = createParameters(8192, [46, 46, 46, 46], 28);
  const setup = setUp(parameters, await createConsumerKeys(parameters));
  const how = { packing: "batch", limbs: 2 } as const;
  const good = await requestOf(setup, { how, rows: 2, mode: "shared" });
  const layers = weights.layers.map(({ kernel, bias }) => ({
    kernel: kernel.map((w) => w * 2 ** 3),
    bias,
  }));
  const model = { modelId: "steep", weights: { layers } };
  await expect(async () => setup.engine.evaluate({ ...good, ...model })).rejects.toMatchObject({
    code: "limit-exceeded",
    message: expect.stringContaining(`under the first 2 primes of ${parameters.id}`),
  });
  // All primes would have carried it.
  const all = await requestOf(setup, { how: { ...how, limbs: 3 }, rows: 2, mode: "shared" });
  expect(await setup.engine.evaluate({ ...all, ...model })).toMatchObject({ status: "ok" });
  await expectRight(setup, good);
});

test("a pack that was not made as planned bears it itself; the model goes on serving the others", async () => {
  const { setup, how } = await slotsOf(SLOTS, "shared");
  const planned = { slotsScaleBits: how.scaleBits, batchLimbs: 3 };
  const at = async (scaleBits: number, rest: Partial<PackRequest>) => {
    const request = await requestOf(setup, { how: { ...how, scaleBits }, rows: 1, mode: "shared" });
    return setup.engine.evaluate({ ...request, ...rest });
  };
  // If owners packed so, it would be the model that does not fit: packs wait for the next, and none is lost.
  const odd = { ...planned, slotsScaleBits: 8 };
  await expect(at(8, { planned: odd })).rejects.toMatchObject({ code: "limit-exceeded" });
  const refusal = { status: "refused", part: -1, fault: "scale" };
  expect(await at(8, { planned })).toEqual(refusal);
  expect(await at(how.scaleBits, { planned })).toMatchObject({ status: "ok" });
  // Made as planned: the weights are at fault.
  const steep = {
    layers: weights.layers.map((one) => ({ ...one, kernel: one.kernel.map((w) => w * 2 ** 20) })),
  };
  const model = { modelId: "steep", weights: steep, planned };
  const batch = { packing: "batch", limbs: 2 } as const;
  const few = { ...(await requestOf(setup, { how: batch, rows: 2, mode: "shared" })), ...model };
  expect(await setup.engine.evaluate(few)).toEqual({ ...refusal, fault: "shape" });
  const asPlanned = { ...few, planned: { ...planned, batchLimbs: 2 } };
  await expect(async () => setup.engine.evaluate(asPlanned)).rejects.toMatchObject({
    code: "limit-exceeded",
  });
});

test("a model that does not fit is refused with a sentence", async () => {
  const setup = setUp(SHARED, await createConsumerKeys(SHARED));
  const how = { packing: "batch" } as const;
  const good = await requestOf(setup, { how, rows: 2, mode: "shared" });
  const deep = network(FEATURES, 4, 4, 4, 3);
  const model = { modelId: "deep", network: deep, weights: randomWeights(deep, seeded(1)) };
  await expect(async () => setup.engine.evaluate({ ...good, ...model })).rejects.toMatchObject({
    code: "limit-exceeded",
  });
  await expectRight(setup, good);
});

test("a model of ciphertexts: no weight in the request, the plain network's answers, no batch packs", async () => {
  const parameters = createParameters(8192, [46, 34, 34, 34, 46], 24);
  const { setup, how } = await slotsOf(parameters, "secret");
  const file = await encryptModelFile({
    ...{ network: shape, weights, parameters, publicKey: setup.keys.publicKey },
    ...{ precisionBits: GOAL, inputScaleBits: how.scaleBits },
  });
  const request = await requestOf(setup, { how, rows: 2, mode: "encrypted" });
  await expectRight(setup, { ...request, modelId: "hidden", weights: { file } });
  // As a worker is given it: one copy for all packs and workers.
  const shared = new Uint8Array(new SharedArrayBuffer(file.length));
  shared.set(file);
  await expectRight(setup, { ...request, modelId: "shared", weights: { file: shared } });
  const batch = await requestOf(setup, { how: { packing: "batch" }, rows: 2, mode: "encrypted" });
  expect(await setup.engine.evaluate({ ...batch, weights: { file } })).toMatchObject({
    status: "refused",
    part: -1,
  });
  const other = { ...how, scaleBits: how.scaleBits + 1 };
  const misfit = await requestOf(setup, { how: other, rows: 2, mode: "encrypted" });
  expect(await setup.engine.evaluate({ ...misfit, weights: { file } })).toMatchObject({
    status: "refused",
    fault: "shape",
  });
  const cut = { file: file.subarray(0, file.length - 1) };
  await expect(
    setup.engine.evaluate({ ...request, modelId: "cut", weights: cut }),
  ).rejects.toMatchObject({ code: "checkpoint-invalid" });
});
