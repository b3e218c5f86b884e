/** What the benchmark of predictions computes itself: trained networks, the replicated packing, agreements. */
import { describe, expect, it } from "vitest";
import { cpuTurn, PhaseClock } from "../../bench/lib/cpu-turn.ts";
import { seeded } from "../../bench/lib/seeded.ts";
import { KEY_CASES, keyResult, peerLayers } from "../../bench/predict/cases.ts";
import { agreementOf } from "../../bench/predict/contest.ts";
import { breastCancerModel } from "../../bench/predict/models.ts";
import { replicatedCircuit } from "../../bench/predict/replicated.ts";
import {
  convolution,
  dense,
  type Example,
  logitsOf,
  networkOf,
  pooledDense,
  type SharedLayer,
  train,
} from "../../bench/predict/trainer.ts";
import { forward } from "../../pipeline/network/forward.ts";
import { evaluateCircuit } from "../../pipeline/network/lower.ts";

function fill(layers: readonly SharedLayer[], seed: number): void {
  const random = seeded(seed);
  for (const { theta } of layers)
    for (let at = 0; at < theta.length; at += 1) theta[at] = 2 * random() - 1;
}

/** A network with every kind of layer on 2 channels of 7 x 7: small enough to be computed by hand. */
function smallNetwork() {
  const filters = convolution({ channels: 2, width: 7 }, { filters: 3, window: 3, stride: 1 });
  expect(filters.image).toEqual({ channels: 3, width: 5 });
  const even = convolution({ channels: 2, width: 7 }, { filters: 3, window: 3, stride: 2 });
  expect(even.image).toEqual({ channels: 3, width: 3 });
  const shape = convolution({ channels: 2, width: 7 }, { filters: 3, window: 4, stride: 1 });
  expect(shape.image).toEqual({ channels: 3, width: 4 });
  const pooled = pooledDense(shape.image, { pool: 2, outputs: 4, square: true });
  return [shape.layer, pooled, dense(4, 3, false)] as const;
}

describe("the trainer", () => {
  it("lays out convolution, pooling and dense layers as the pipeline's networks do", () => {
    const layers = smallNetwork();
    fill(layers, 3);
    const random = seeded(5);
    const x = Float64Array.from({ length: 98 }, random);
    const { network, weights } = networkOf(layers);
    const wanted = forward(network, weights, x);
    logitsOf(layers, x).forEach((logit, at) => {
      expect(Math.abs(logit / wanted[at]! - 1)).toBeLessThan(1e-5);
    });
  });

  it("goes down the gradient of the loss, through every kind of layer", () => {
    const layers = smallNetwork();
    const random = seeded(9);
    const example: Example = { features: Float64Array.from({ length: 98 }, random), label: 1 };
    const still = { epochs: 1, batch: 1, learningRate: 0, decay: 0 };
    train(layers, [example], still);
    const before = layers.map(({ theta }) => theta.slice());
    const loss = (): number => {
      const logits = logitsOf(layers, example.features);
      const sum = Math.log(logits.reduce((total, z) => total + Math.exp(z), 0));
      // The smoothed label: a tenth is shared by all classes.
      return logits.reduce(
        (total, z, k) => total - ((k === example.label ? 0.9 : 0) + 0.1 / 3) * (z - sum),
        0,
      );
    };
    const slopes = before.map((theta, index) =>
      theta.map((value, at) => {
        const sides = [1e-5, -1e-5].map((step) => {
          layers[index]!.theta[at] = value + step;
          return loss();
        });
        layers[index]!.theta[at] = value;
        return (sides[0]! - sides[1]!) / 2e-5;
      }),
    );
    const rate = 1e-4;
    train(layers, [example], { ...still, learningRate: rate });
    const steps = layers.map(({ theta }, index) =>
      theta.map((value, at) => (before[index]![at]! - value) / rate),
    );
    // A step is the gradient, or a gradient of norm 1 where it is longer.
    const norm = Math.max(1, Math.hypot(...slopes.flatMap((slope) => [...slope])));
    for (const [index, slope] of slopes.entries())
      for (const [at, value] of slope.entries())
        expect(Math.abs(steps[index]![at]! - value / norm)).toBeLessThan(1e-5);
  });

  it("learns, the same every time", () => {
    const [model, again] = [breastCancerModel(), breastCancerModel()];
    expect(model.heldOut).toHaveLength(143);
    expect(model.accuracy).toBeGreaterThan(0.95);
    expect(again.logits).toEqual(model.logits);
    for (const row of [0, 71, 142]) {
      const logits = evaluateCircuit(model.circuit, model.heldOut[row]!.features);
      logits.forEach((logit, at) => {
        expect(logit).toBeCloseTo(model.logits[row]![at]!, 9);
      });
    }
  });
});

describe("the replicated packing", () => {
  it("leaves every record's logits in the slots it names", () => {
    const model = breastCancerModel();
    const layers = peerLayers(model.circuit);
    const rows = model.heldOut.map(({ features }) => [...features]);
    const packed = replicatedCircuit({ degree: 4096 }, layers, rows);
    expect(packed.records).toBe(4);
    const rotateAndAdd = (values: number[], steps: readonly number[]): number[] =>
      steps.reduce((v, step) => v.map((x, at) => x + v[(at + step) % v.length]!), values);
    const [w1, b1, w2, b2] = packed.vectors as [number[], number[], number[], number[]];
    const first = rotateAndAdd(
      packed.input.map((x, at) => x * w1[at]!),
      packed.first,
    );
    const last = rotateAndAdd(
      first.map((x, at) => (x + b1[at]!) ** 2 * w2[at]!),
      packed.second,
    ).map((x, at) => x + b2[at]!);
    packed.logitSlots.forEach((slots, record) => {
      slots.forEach((slot, at) => {
        expect(last[slot]).toBeCloseTo(model.logits[record]![at]!, 9);
      });
    });
  });
});

describe("an agreement", () => {
  it("counts equal argmaxes and the largest difference", () => {
    const plain = [
      [1, 2],
      [3, 1],
    ];
    const close = agreementOf(
      [
        [1.25, 2],
        [1, 1.5],
      ],
      plain,
    );
    expect(close).toEqual({ share: 0.5, error: 2, precisionBits: -1 });
    expect(agreementOf([[Number.NaN, 2]], plain).error).toBe(Number.POSITIVE_INFINITY);
    expect(agreementOf([[1]], plain).error).toBe(Number.POSITIVE_INFINITY);
  });
});

describe("what peers are given", () => {
  it("has dense layers as matrices of the circuit", () => {
    const { circuit, heldOut, logits } = breastCancerModel();
    const [hidden, last] = peerLayers(circuit);
    const times = (layer: typeof hidden, values: readonly number[]): number[] =>
      layer!.matrix.map((row, at) => row.reduce((z, w, i) => z + w * values[i]!, layer!.bias[at]!));
    const squares = times(hidden, [...heldOut[5]!.features]).map((z) => z * z);
    times(last, squares).forEach((logit, at) => {
      expect(logit).toBeCloseTo(logits[5]![at]!, 9);
    });
  });

  it("has operations with keys whose results are known", () => {
    for (const { job } of KEY_CASES) {
      const [seen] = keyResult(job);
      const value = job.values[job.operation === "rotate" ? 3 + job.steps.at(-1)! : 3]!;
      expect(seen![3]).toBe(job.operation === "rotate" ? value : value * value);
      expect(job.steps.every((step) => step < job.values.length)).toBe(true);
    }
  });
});

describe("CPU time of a turn", () => {
  /** Milliseconds of CPU at least. */
  const spin = (ms: number): void => {
    const end = process.threadCpuUsage();
    while (process.threadCpuUsage(end).user + process.threadCpuUsage(end).system < ms * 1000);
  };

  it("counts units, runs at least once and ends when the time is spent", () => {
    let runs = 0;
    const perSecond = cpuTurn(
      () => {
        runs += 1;
        spin(20);
      },
      { unitsPerRun: 10, turnMs: 1 },
    );
    expect(runs).toBe(1);
    expect(perSecond).toBeGreaterThan(0);
    expect(perSecond).toBeLessThanOrEqual(500);
  });

  it("gives phases by run and forgets them", () => {
    const clock = new PhaseClock();
    clock.start();
    spin(20);
    clock.done("a");
    spin(20);
    clock.done("b");
    const phases = clock.take(2);
    expect(Object.keys(phases)).toEqual(["a", "b"]);
    expect(phases["a"]).toBeGreaterThanOrEqual(10);
    expect(clock.take(1)).toEqual({});
  });
});
