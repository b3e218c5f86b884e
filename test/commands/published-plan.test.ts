/** The plan under keys as they are published: late, rotated, or made for another pipeline file. */
import { describe, expect, test } from "vitest";
import { type EvaluationKeyForm, writeForm } from "../../pipeline/ckks/evaluation-key-form.ts";
import { type PredictRequest, requirePlan } from "../../pipeline/ckks/predict-plan.ts";
import { createOwnerPacking } from "../../pipeline/commands/stages/owner-packing.ts";
import { createPublishedPlans } from "../../pipeline/commands/stages/published-plan.ts";
import type { PublicBlob } from "../../pipeline/crypto/blob-assembler.ts";
import type { PipelineSpec } from "../../pipeline/spec/pipeline-spec.ts";

/** A file whose packs go as slots. */
function file(widths: readonly number[]): PredictRequest {
  return {
    kafka: { partitions: 1 },
    features: { outputs: { length: 16, range: [0, 1] }, label: { classes: widths.at(-1) ?? 0 } },
    train: {
      network: widths.map((dense, index) => ({
        dense,
        activation: index === widths.length - 1 ? "none" : "square",
      })),
    },
    encrypt: { packs: { lingerMs: 200, maxBytesPerRecord: 400_000, rate: 5 } },
    predict: {
      packing: "auto",
      model: "secret",
      precisionBits: 3,
      workers: "auto",
      parameters: "auto",
    },
  };
}

const FILE = file([4, 2]);
const DEEPER = file([8, 8, 4, 2]);
const PLAN = requirePlan(FILE);
const FRESH: EvaluationKeyForm = { relin: PLAN.needsRelin, steps: PLAN.rotationSteps };

/** What a directory believes; heads of keys stand for keys. */
function world() {
  const publicKeys: PublicBlob[] = [];
  const evaluations: PublicBlob[] = [];
  const blob = (kind: string, generation: number, bytes: Uint8Array, parameters: string) => ({
    ...{ parameters, bytes, generation, by: [] },
    id: `${kind}-${generation}`,
  });
  return {
    directory: {
      blob: () => publicKeys.at(-1) ?? null,
      consumerKeys(id: string) {
        const publicKey = publicKeys.find((one) => one.id === id);
        const evaluation = evaluations.find(
          ({ generation }) => generation === publicKey?.generation,
        );
        return publicKey && evaluation ? { publicKey, evaluation } : null;
      },
    },
    publicKey(generation: number, parameters = PLAN.parameters.id) {
      publicKeys.push(blob("public", generation, new Uint8Array(1), parameters));
    },
    evaluation(generation: number, form = FRESH, parameters = PLAN.parameters.id) {
      evaluations.push(blob("evaluation", generation, writeForm(form), parameters));
    },
  };
}

const coded = (code: string, message: RegExp) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) });

describe("the plan under published keys", () => {
  test("comes with the keys, whichever half is first", () => {
    const { directory, ...publish } = world();
    const plans = createPublishedPlans(FILE, directory);
    expect(plans.newest()).toBeNull();
    publish.publicKey(1);
    expect(plans.newest()).toBeNull();
    expect(plans.plan("public-1") !== null).toBe(false);
    publish.evaluation(1);
    expect(plans.newest()?.plan.packings).toEqual(PLAN.packings);
    expect(plans.newest()?.plan).toBe(plans.newest()?.plan);
    expect(plans.plan("public-1") !== null).toBe(true);
  });

  test("one sentence when the network of the file has changed since", () => {
    const { directory, ...publish } = world();
    publish.evaluation(1);
    publish.publicKey(1);
    const plans = createPublishedPlans(DEEPER, directory);
    const stale = coded("key-invalid", /^The consumer's published CKKS keys .* no longer fit/);
    expect(() => plans.newest()).toThrow(stale);
    expect(() => plans.newest()).toThrow(stale);
    expect(plans.plan("public-1") !== null).toBe(false);
  });

  test("a rotation counts from its public key on; packs under both are served", () => {
    const { directory, ...publish } = world();
    publish.evaluation(1);
    publish.publicKey(1);
    const plans = createPublishedPlans(FILE, directory);
    expect(plans.newest()?.publicKey.id).toBe("public-1");
    publish.evaluation(2);
    expect(plans.newest()?.publicKey.id).toBe("public-1");
    publish.publicKey(2);
    expect(plans.newest()?.publicKey.id).toBe("public-2");
    expect([plans.plan("public-1") !== null, plans.plan("public-2") !== null]).toEqual([
      true,
      true,
    ]);
  });

  test("keys for another file that come while the stage runs ask for a new start", () => {
    const { directory, ...publish } = world();
    publish.evaluation(1);
    publish.publicKey(1);
    const plans = createPublishedPlans(FILE, directory);
    plans.newest();
    const other = "ckks-4096-46.46.17-s21";
    publish.evaluation(2, { relin: false, steps: [] }, other);
    publish.publicKey(2, other);
    expect(() => plans.newest()).toThrow(coded("state-mismatch", /were rotated .* start it again/));
    expect([plans.plan("public-1") !== null, plans.plan("public-2") !== null]).toEqual([
      true,
      false,
    ]);
  });

  test("what is no key is no plan", () => {
    const { directory, ...publish } = world();
    publish.evaluation(1, { relin: true, steps: [3, 2] });
    publish.publicKey(1);
    const plans = createPublishedPlans(FILE, directory);
    expect(() => plans.newest()).toThrow(coded("key-invalid", /none that Sealstream makes/));
  });
});

describe("how the owner packs", () => {
  const usesSlots = (form: EvaluationKeyForm): boolean => {
    const { directory, ...publish } = world();
    publish.evaluation(1, form);
    publish.publicKey(1);
    const plans = createPublishedPlans(FILE, directory);
    return plans.newest()?.plan.packings.slots !== null;
  };

  test("slots only where their rotations have keys", () => {
    expect(usesSlots(FRESH)).toBe(true);
    expect(usesSlots({ ...FRESH, steps: FRESH.steps.slice(1) })).toBe(false);
  });

  test("under the newest keys, and not before there are some", () => {
    const { directory, ...publish } = world();
    // Because packing reads no other part of a file.
    const packing = createOwnerPacking(FILE as unknown as PipelineSpec);
    const plans = createPublishedPlans(FILE, directory);
    expect(packing(plans.newest())).toBeNull();
    publish.evaluation(1);
    publish.publicKey(1);
    const first = packing(plans.newest());
    expect(first).toMatchObject({
      consumerKeyId: "public-1",
      parametersId: PLAN.parameters.id,
      packRecords: PLAN.parameters.polyModulusDegree / 2,
    });
    expect(packing(plans.newest())).toBe(first);
    publish.evaluation(2);
    publish.publicKey(2);
    expect(packing(plans.newest())?.consumerKeyId).toBe("public-2");
  });
});
