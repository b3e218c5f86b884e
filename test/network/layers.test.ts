/** Kinds of layers: shapes, numbers, arithmetic done by hand, and what cannot be a network. */
import { describe, expect, test } from "vitest";
import {
  type Network,
  networkFault,
  parameterCount,
  sameNetwork,
} from "../../pipeline/network/definition.ts";
import { forward } from "../../pipeline/network/forward.ts";
import { networkFromSpec, type SpecLayer } from "../../pipeline/network/from-spec.ts";
import { initialWeights } from "../../pipeline/network/initial-weights.ts";
import { plainNetwork, readNetwork } from "../../pipeline/network/network-json.ts";
import { unflatten } from "../../pipeline/network/weights.ts";
import { conv, dense, NETWORKS, networkOf, pool, seeded, uniformOf } from "./random-networks.ts";

describe("arithmetic by hand", () => {
  /** 3 x 3 image 1..9, one 2 x 2 filter [[1, 2], [3, 4]] with bias 1, its windows' sums plus 10 for a linear end. */
  const image = [1, 2, 3, 4, 5, 6, 7, 8, 9];
  const parameters = (outputs: number) => [1, 2, 3, 4, 1, ...identity(outputs)];
  /** A dense layer that gives every input on. */
  const identity = (size: number) => [
    ...Array.from({ length: size * size }, (_, at) => (at % (size + 1) === 0 ? 1 : 0)),
    ...Array.from({ length: size }, () => 0),
  ];
  const run = (classes: number, ...layers: SpecLayer[]) => {
    const network = networkOf(9, [{ reshape: [3, 3, 1] }, ...layers, dense(classes)], classes);
    return [...forward(network, unflatten(network, parameters(classes)), image)];
  };
  const linear = { activation: { polynomial: [0, 1, 1] } } as const;
  const z = (value: number) => value + value * value;

  test("valid: 1*1 + 2*2 + 4*3 + 5*4 + 1 = 38 first", () => {
    expect(run(4, conv(1, [2, 2], linear))).toEqual([38, 48, 68, 78].map(z));
  });

  test("same with an even kernel: the odd zero comes after", () => {
    const last = [38, 48, 3 + 18 + 1, 68, 78, 6 + 27 + 1, 7 + 16 + 1, 8 + 18 + 1, 9 + 1];
    expect(run(9, conv(1, [2, 2], { ...linear, padding: "same" }))).toEqual(last.map(z));
  });

  test("same with stride 2 is ceil(3 / 2) wide, one zero behind", () => {
    const strides = [2, 2] as const;
    expect(run(4, conv(1, [2, 2], { ...linear, padding: "same", strides }))).toEqual(
      [38, 22, 24, 10].map(z),
    );
  });

  test("a pool is the mean of its window, and leaves out what does not fit", () => {
    expect(run(1, conv(1, [2, 2], linear), pool([2, 2]))).toEqual([
      (z(38) + z(48) + z(68) + z(78)) / 4,
    ]);
    const network = networkOf(9, [{ reshape: [3, 3, 1] }, pool([2, 2]), dense(1)], 1);
    expect([...forward(network, unflatten(network, [1, 0]), image)]).toEqual([3]);
  });

  test("channels are the last axis, and filters behind them", () => {
    const network = networkOf(4, [{ reshape: [1, 2, 2] }, conv(2, [1, 1], linear), dense(4)], 4);
    // kernel [channel][filter] = [[1, 10], [2, 20]]
    const weights = unflatten(network, [1, 10, 2, 20, 0, 1, ...identity(4)]);
    expect([...forward(network, weights, [1, 2, 3, 4])]).toEqual([5, 51, 11, 111].map(z));
  });

  test("an rnn goes through its steps, from a state of zeros", () => {
    const network = networkOf(
      2,
      [{ reshape: [2, 1] }, { rnn: 2, activation: "square" }, dense(2)],
      2,
    );
    // Wx [1, 2], Uh [[1, 0], [1, 1]], bias [0, 1]
    const weights = unflatten(network, [1, 2, 1, 0, 1, 1, 0, 1, ...identity(2)]);
    // h1 = [1, (2 + 1)^2] = [1, 9]; z2 = [3 + 1 + 9, 6 + 9 + 1] = [13, 16]
    expect([...forward(network, weights, [1, 3])]).toEqual([169, 256]);
  });
});

test.each([
  ["linear", 18],
  ["convolution, pool", 9 * 2 + 2 + 8 * 3 + 3],
  ["rnn", (3 + 5 + 1) * 5 + 18],
])("%s has %d parameters", (name, count) => {
  expect(parameterCount(NETWORKS[name]!)).toBe(count);
});

describe("a network as JSON", () => {
  test.each(Object.entries(NETWORKS))("%s comes back as it was", (_, network) => {
    const read = readNetwork(JSON.parse(JSON.stringify(plainNetwork(network))));
    expect(read).toEqual(network);
    expect(sameNetwork(read!, network)).toBe(true);
    expect(networkFault(network)).toBeNull();
  });

  test.each<unknown>([
    null,
    1,
    [],
    {},
    { inputs: "1", layers: [] },
    { inputs: 1, layers: {} },
    { inputs: 1, layers: [null] },
    { inputs: 1, layers: [{ outputs: 1 }] },
    { inputs: 1, layers: [{ outputs: 1, activation: "gelu" }] },
    { inputs: 1, layers: [{ outputs: 1, activation: { polynomial: [0, "1", 1] } }] },
    { inputs: 1, layers: [{ kind: "gru", input: [1, 1], outputs: 1, activation: "none" }] },
    { inputs: 1, layers: [{ kind: "rnn", input: [1], outputs: 1, activation: "square" }] },
    { inputs: 1, layers: Array.from({ length: 17 }, () => ({ outputs: 1, activation: "none" })) },
  ])("%j is none", (value) => {
    expect(readNetwork(value)).toBeNull();
  });

  test("any changed number or word is another network", () => {
    const network = NETWORKS["same, strides"]!;
    const text = JSON.stringify(plainNetwork(network));
    for (const [from, to] of [
      ['"filters":3', '"filters":2'],
      ['"strides":[2,3]', '"strides":[2,2]'],
      ['"same"', '"valid"'],
      ["0.125", "0.126"],
    ] as const) {
      const other = readNetwork(JSON.parse(text.replace(from, to)))!;
      expect(sameNetwork(network, other)).toBe(false);
    }
  });
});

describe("networkFault", () => {
  const layer = NETWORKS["same, strides"]!.layers[0]!;
  const end = { outputs: 3, activation: "none" } as const;
  const broken = (change: object): Network => ({
    inputs: 70,
    layers: [{ ...layer, ...change } as typeof layer, end],
  });

  test.each<[string, object]>([
    ["another number of outputs", { outputs: 28 }],
    ["a shape that is not there", { input: [5, 7, 1] }],
    ["a window larger than the image", { padding: "valid", kernelSize: [6, 4], outputs: 0 }],
    ["a stride of 0", { strides: [0, 1] }],
    ["a fraction", { filters: 2.5 }],
    ["NaN", { kernelSize: [Number.NaN, 1] }],
    ["a polynomial of degree 1", { activation: { polynomial: [1, 2] } }],
    ["a polynomial of degree 8", { activation: { polynomial: [1, 2, 3, 4, 5, 6, 7, 8, 9] } }],
    ["a coefficient that is not finite", { activation: { polynomial: [1, 2, Number.NaN] } }],
    ["a polynomial that ends in 0", { activation: { polynomial: [1, 2, 0] } }],
    ["no activation in the middle", { activation: "none" }],
  ])("finds %s", (_, change) => {
    expect(networkFault(broken({}))).toBeNull();
    expect(networkFault(broken(change))).not.toBeNull();
  });

  test("finds an rnn at the end, and more products than a circuit can hold", () => {
    const [rnn] = NETWORKS["rnn"]!.layers;
    expect(networkFault({ inputs: 12, layers: [rnn!] })).toMatch(/a dense layer must follow/);
    expect(() =>
      networkOf(64 * 64, [
        { reshape: [64, 64, 1] },
        conv(16, [16, 16], { padding: "same" }),
        dense(3),
      ]),
    ).toThrow(expect.objectContaining({ code: "spec-invalid" }));
  });
});

test.each<[string, SpecLayer[]]>([
  ["a convolution without a shape", [conv(1, [1, 1]), dense(3)]],
  ["an rnn over an image", [{ reshape: [2, 3, 2] }, { rnn: 2, activation: "square" }, dense(3)]],
  ["a shape of another size", [{ reshape: [2, 5] }, { rnn: 2, activation: "square" }, dense(3)]],
  ["a window that does not fit", [{ reshape: [2, 3, 2] }, pool([3, 3]), dense(3)]],
  ["a line for a minimax", [dense(2, { minimax: "tanh", degree: 2, range: 3 }), dense(3)]],
])("networkFromSpec refuses %s", (_, network) => {
  expect(() =>
    networkFromSpec({ outputs: { length: 12 }, label: { classes: 3 } }, { network }),
  ).toThrow(expect.objectContaining({ code: "spec-invalid" }));
});

describe("initial weights", () => {
  /** Mean square of what a single layer computes for features of mean square 1/4. */
  const meanSquare = (network: Network, count: number) => {
    const draw = seeded(9);
    let sum = 0;
    for (let round = 0; round < count; round += 1) {
      const weights = initialWeights(network, draw);
      const input = uniformOf(draw, network.inputs).map((value) => (value < 0.5 ? 0.5 : -0.5));
      const { layers } = weights;
      const linear = { ...network, layers: network.layers.slice(0, 1) };
      const outputs = forward(linear, { layers: layers.slice(0, 1) }, input);
      sum += outputs.reduce((total, value) => total + value, 0) / outputs.length;
    }
    return sum / count;
  };

  test("give every kind of layer a pre-activation of variance about 1", () => {
    const square = (layers: SpecLayer[], inputs: number) =>
      meanSquare(networkOf(inputs, layers), 50);
    expect(square([{ reshape: [6, 6, 2] }, conv(8, [3, 3]), dense(3)], 72)).toBeCloseTo(1, 0);
    // A recurrent layer is given an eighth; the first step has no state.
    const one: SpecLayer[] = [{ reshape: [1, 16] }, { rnn: 32, activation: "square" }, dense(3)];
    expect(square(one, 16)).toBeCloseTo(0.125, 1);
    expect(square(one, 16)).toBeGreaterThan(0.09);
  });

  test("a recurrent layer does not explode over 16 steps", () => {
    for (const activation of ["quadratic", { minimax: "tanh", degree: 3, range: 4 }] as const) {
      const network = networkOf(64, [{ reshape: [16, 4] }, { rnn: 16, activation }, dense(3)]);
      const draw = seeded(10);
      for (let round = 0; round < 20; round += 1) {
        const logits = forward(network, initialWeights(network, draw), uniformOf(draw, 64));
        expect(Math.max(...logits.map(Math.abs))).toBeLessThan(20);
      }
    }
  });
});
