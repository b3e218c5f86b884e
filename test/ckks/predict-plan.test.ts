/** The planner: which set it takes and why, what it refuses, and that both packings share one set of keys. */
import { describe, expect, test } from "vitest";
import { evaluationKeysBytes } from "../../pipeline/ckks/key-blob.ts";
import { evaluationKeyBytes } from "../../pipeline/ckks/packing-outlook.ts";
import { PARAMETER_SETS, setName } from "../../pipeline/ckks/parameter-sets.ts";
import { fitsKernels, modulusBits, parseParameters } from "../../pipeline/ckks/parameters.ts";
import { cheaperPacking } from "../../pipeline/ckks/plan-carrier.ts";
import {
  type PredictPlan,
  type PredictRequest,
  type PublishedKeys,
  planPredict,
  planUnder,
  predictParameters,
  predictSteps,
  requirePlan,
} from "../../pipeline/ckks/predict-plan.ts";
import { primesOf } from "../../pipeline/ckks/primes.ts";

type Edit = {
  readonly predict?: Partial<PredictRequest["predict"]>;
  readonly packs?: Partial<PredictRequest["encrypt"]["packs"]>;
};

/** A file with dense layers of these widths and squares between them. */
function request(inputs: number, widths: readonly number[], edit: Edit = {}): PredictRequest {
  return {
    kafka: { partitions: 4 },
    features: {
      outputs: { length: inputs, range: [0, 1] },
      label: { classes: widths.at(-1) ?? 0 },
    },
    train: {
      network: widths.map((dense, index) => ({
        dense,
        activation: index === widths.length - 1 ? "none" : "square",
      })),
    },
    encrypt: { packs: { lingerMs: 200, maxBytesPerRecord: 100_000, rate: null, ...edit.packs } },
    predict: {
      packing: "auto",
      model: "secret",
      precisionBits: 3,
      workers: "auto",
      parameters: "auto",
      ...edit.predict,
    },
  };
}

const digits = (edit: Edit = {}): PredictRequest => request(64, [32, 10], edit);

function refused(of: PredictRequest) {
  const outcome = planPredict(of);
  if (outcome.status === "ok") throw new Error(`expected a refusal, found ${outcome.plan.name}`);
  return outcome;
}

describe("the named sets", () => {
  test("are secure, within the bound of our kernels, possible and each its own", () => {
    for (const { parameters } of PARAMETER_SETS) {
      expect(parseParameters(parameters.id)).toEqual(parameters);
      expect(fitsKernels(parameters)).toBe(true);
      expect(new Set(primesOf(parameters)).size).toBe(parameters.coeffModulusBits.length);
    }
    expect(new Set(PARAMETER_SETS.map(({ name }) => name)).size).toBe(PARAMETER_SETS.length);
    expect(new Set(PARAMETER_SETS.map(({ parameters }) => parameters.id)).size).toBe(
      PARAMETER_SETS.length,
    );
    expect(modulusBits(PARAMETER_SETS.at(-1)!.parameters)).toBeGreaterThan(438);
  });
});

describe("the choice for digits 64-32-10", () => {
  test("a model that may be known needs no evaluation keys and the smallest ring", () => {
    const plan = requirePlan(digits({ predict: { packing: "batch", model: "shared" } }));
    expect(plan.name).toBe("shared-1");
    expect(plan).toMatchObject({ needsRelin: false, rotationSteps: [], packRecords: 2048 });
    expect(Math.round(plan.bytesPerRecordIn.whenFull)).toBeLessThanOrEqual(2960);
    expect(Math.round(plan.bytesPerRecordOut.whenFull)).toBeLessThanOrEqual(410);
  });

  test("a secret one is relinearised in a larger ring", () => {
    const plan = requirePlan(digits({ predict: { packing: "batch" } }));
    expect(plan.name).toBe("secret-1");
    expect(plan).toMatchObject({ needsRelin: true, rotationSteps: [], packRecords: 4096 });
    expect(plan.precisionBits).toBeGreaterThanOrEqual(3);
  });

  test("full batch packs carry no prime that is not read, under keys that slots need more of", () => {
    const plan = requirePlan(digits({}));
    const { batch, slots } = plan.packings;
    expect(plan.parameters.id).toBe("ckks-8192-49.49.30.49-s23");
    expect([batch?.inputLimbs, slots?.inputLimbs]).toEqual([2, 3]);
    expect((batch?.bytesIn ?? 0) / (batch?.packRecords ?? 1)).toBe(3136.25);
  });

  test("slots take rotation keys and few records", () => {
    const plan = requirePlan(
      digits({ predict: { packing: "slots" }, packs: { maxBytesPerRecord: 400_000 } }),
    );
    expect(plan.packing).toBe("slots");
    expect(plan.packings.batch).toBeNull();
    expect(plan.packRecords).toBeLessThan(64);
    expect(plan.rotationSteps.length).toBeGreaterThan(5);
    expect([...plan.rotationSteps].sort((a, b) => a - b)).toEqual(plan.rotationSteps);
    expect(plan.latencyMs).toBeGreaterThan(200);
  });

  test("a slow stream goes as slots, a fast one as batch, under one set of keys", () => {
    const slow = requirePlan(digits({ packs: { rate: 20 } }));
    const fast = requirePlan(digits({ packs: { rate: 80_000 } }));
    expect([slow.packing, fast.packing]).toEqual(["slots", "batch"]);
    expect(slow.expectedRecords).toBe(1);
    expect(fast.expectedRecords).toBe(4000);
    const { batch, slots } = slow.packings;
    expect([batch?.packing, slots?.packing]).toEqual(["batch", "slots"]);
    expect(slow.msPerRecord.atFill).toBeGreaterThan(slow.msPerRecord.whenFull);
    expect(slow.evaluationKeyBytes).toBeGreaterThanOrEqual(slots!.evaluationKeyBytes);
  });

  test("an encrypted model is evaluated in slots alone", () => {
    const packs = { maxBytesPerRecord: 400_000 };
    const plan = requirePlan(digits({ predict: { model: "encrypted" }, packs }));
    expect([plan.packing, plan.packings.batch, plan.mode]).toEqual(["slots", null, "encrypted"]);
    expect(plan.precisionBits).toBeGreaterThanOrEqual(3);
    const batch = refused(digits({ predict: { model: "encrypted", packing: "batch" } }));
    expect(batch).toMatchObject({
      key: "predict.packing",
      message: "an encrypted model is evaluated in slots: expected auto or slots",
    });
  });

  test("is the same however often it is made", () => {
    const of = digits({ packs: { rate: 20 } });
    expect(predictParameters(of).id).toBe(requirePlan(of).parameters.id);
    expect(predictSteps(of)).toEqual(requirePlan(of).rotationSteps);
  });
});

describe("what does not fit", () => {
  test("deeper networks take more primes, and the deepest are refused", () => {
    const packs = { maxBytesPerRecord: 400_000 };
    const primes = [[32], [32, 16]].map((hidden) => {
      const { parameters } = requirePlan(request(64, [...hidden, 10], { packs }));
      return parameters.coeffModulusBits.length;
    });
    expect(primes[1]).toBeGreaterThan(primes[0]!);
    // Three squares blur or pass, but never are they taken without a right bit.
    const three = planPredict(request(64, [16, 16, 16, 10], { packs }));
    if (three.status === "ok") expect(three.plan.precisionBits).toBeGreaterThanOrEqual(1);
    else expect(three.key).toBe("train.network");
    // Sixteen layers are the most that a network has: fifteen squares.
    const outcome = refused(request(8, [...new Array<number>(15).fill(4), 2], { packs }));
    expect(outcome.key).toBe("train.network");
    expect(outcome.message).toMatch(/^no parameter set carries this network; .*; use fewer/);
    const judged = new Set(outcome.refusals.map(({ name }) => name));
    expect(judged.size).toBe(PARAMETER_SETS.length);
  });

  test("a goal beyond every set takes the most precise one and says so", () => {
    const plan = requirePlan(digits({ predict: { precisionBits: 24 } }));
    expect(plan.precisionBits).toBeLessThan(plan.precisionGoal);
    expect(plan.refusals.map(({ reason }) => reason).join()).toMatch(
      /right bits are fewer than the 24 of predict.precisionBits/,
    );
  });

  test.each([
    ["ckks-8192-60.60.60.60-s30", "insecure"],
    ["ckks-8192-60.30.30.40-s30", "primes beyond our kernels"],
    ["ckks-2048-27.27-s20", "a ring that is too small"],
    ["best", "no id"],
  ])("the set %s is refused: %s", (parameters) => {
    const outcome = refused(digits({ predict: { parameters } }));
    expect(outcome.key).toBe("predict.parameters");
    expect(outcome.message).toContain(`${parameters} is no parameter set of 128-bit security`);
  });

  test("a set that is named and does not carry the network is refused with the reason", () => {
    const outcome = refused(
      request(64, [32, 16, 10], { predict: { parameters: "ckks-8192-46.46.47-s22" } }),
    );
    expect(outcome.key).toBe("predict.parameters");
    expect(outcome.message).toMatch(
      /ckks-8192-46.46.47-s22 does not carry this network; secret-1: .*; use auto/,
    );
    expect(outcome.refusals.map(({ packing }) => packing)).toEqual(["batch", "slots"]);
    expect(() =>
      requirePlan(request(64, [32, 16, 10], { predict: { parameters: "ckks-8192-46.46.47-s22" } })),
    ).toThrow(expect.objectContaining({ code: "limit-exceeded" }));
  });

  test("every set that is not taken has a reason", () => {
    const { name, refusals } = requirePlan(digits());
    const said = new Set(refusals.map((one) => one.name));
    for (const set of PARAMETER_SETS) {
      if (set.name !== name) expect(said).toContain(set.name);
    }
    for (const { reason } of refusals) expect(reason).toMatch(/^[^.].*[^.]$/);
  });
});

describe("keys that are published already", () => {
  const file = digits({ packs: { rate: 20 } });
  const keysOf = (plan: PredictPlan): PublishedKeys => ({
    parameters: plan.parameters.id,
    relin: plan.needsRelin,
    steps: plan.rotationSteps,
  });
  const fresh = keysOf(requirePlan(file));
  const stale = (reason: string) =>
    expect.objectContaining({
      code: "key-invalid",
      message: expect.stringMatching(
        new RegExp(
          `^The consumer's published CKKS keys \\(.*\\) no longer fit the pipeline file: ${reason}\\. Undo .*keys rotate FILE ckks`,
        ),
      ),
    });

  test("the plan under fresh keys is the plan of the file", () => {
    const under = planUnder(file, fresh);
    expect(under.packing).toBe("slots");
    expect(under).toMatchObject(fresh.steps.length > 0 ? { rotationSteps: fresh.steps } : {});
    expect(under.packings).toEqual(requirePlan(file).packings);
  });

  test("without rotations auto stays with batch, and slots are refused", () => {
    const relinOnly = { ...fresh, steps: fresh.steps.slice(1) };
    const under = planUnder(file, relinOnly);
    expect([under.packing, under.packings.slots, under.rotationSteps]).toEqual(["batch", null, []]);
    const slots = digits({
      predict: { packing: "slots" },
      packs: { maxBytesPerRecord: 400_000 },
    });
    const many = fresh.steps.length;
    expect(() => planUnder(slots, relinOnly)).toThrow(stale(`1 of ${many} rotations have no key`));
  });

  test("a secret model needs relinearisation, and another network other parameters", () => {
    const none = { ...fresh, relin: false, steps: [] };
    expect(() => planUnder(file, none)).toThrow(stale("\\d+ of \\d+ rotations have no key"));
    const batch = digits({ predict: { packing: "batch" } });
    expect(() => planUnder(batch, none)).toThrow(stale("relinearisation has no key"));
    const deeper = request(64, [32, 16, 16, 10]);
    expect(() => planUnder(deeper, fresh)).toThrow(stale(".* does not carry this network.*"));
    expect(() => planUnder(file, { ...fresh, parameters: "ckks-8192-60.30.30.40-s30" })).toThrow(
      stale(".* is no parameter set .*"),
    );
  });
});

test("the cheaper packing turns once, from slots to batch, as a pack fills", () => {
  const plan: PredictPlan = requirePlan(digits({ packs: { rate: 20 } }));
  const full = plan.packings.batch!.packRecords;
  const choices = Array.from({ length: full }, (_, index) => cheaperPacking(index + 1, plan));
  expect(choices[0]).toBe("slots");
  expect(choices.at(-1)).toBe("batch");
  expect(choices.lastIndexOf("slots")).toBe(choices.indexOf("batch") - 1);
  expect(plan.reasons.join()).toContain(
    `Packs of fewer than ${choices.indexOf("batch") + 1} records go as slots`,
  );
  const only = { batch: plan.packings.batch, slots: null };
  expect(cheaperPacking(1, { packings: only })).toBe("batch");
  expect(cheaperPacking(full, { packings: { batch: null, slots: plan.packings.slots } })).toBe(
    "slots",
  );
});

test("bytes of evaluation keys are those that are published", () => {
  for (const { parameters } of PARAMETER_SETS.slice(0, 8))
    for (const steps of [[], [1, 2, 4]])
      for (const relin of [false, true]) {
        const exact = evaluationKeysBytes(parameters, { relin, steps });
        const told = evaluationKeyBytes(parameters, { relin, steps: steps.length });
        expect(Math.abs(told - exact)).toBeLessThan(300);
      }
  expect(setName(parseParameters("ckks-8192-46.46.47-s22")!)).toBe("secret-1");
  expect(setName(parseParameters("ckks-8192-46.46.48-s22")!)).toBe("ckks-8192-46.46.48-s22");
});
