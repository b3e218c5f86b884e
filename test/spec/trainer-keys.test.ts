/** How a model learns: defaults, what may be written, and the words for what may not. */
import { describe, expect, it } from "vitest";
import { formatComplaint } from "../../pipeline/spec/complaint.ts";
import { TRAIN_DEFAULTS } from "../../pipeline/spec/training.ts";
import { complaintsOf, edited, loadGood } from "./fixtures.ts";

const RATE = "  learningRate: 1.5\n";
const HIDDEN = "    - { dense: 32, activation: square }\n";
const BACKEND = "  backend: auto";
const SHA = "0123456789abcdef".repeat(4);
/** Keys beside the example's. */
const train = (...lines: string[]): string => edited(BACKEND, [BACKEND, ...lines].join("\n  "));
/** The same with one layer. */
const linear = (...lines: string[]): string => without(HIDDEN, train(...lines));
/** A file by statistics: no rate, one layer. */
const statistics = (...lines: string[]): string =>
  without(RATE, linear("method: statistics", ...lines));
function without(line: string, text: string): string {
  if (!text.includes(line)) throw new Error("the example does not have this line any more");
  return text.replace(line, "");
}
const said = (text: string): string => complaintsOf(text).map(formatComplaint).join("\n");

describe("keys about learning", () => {
  it("mean plain SGD when they are not there", () => {
    expect(loadGood(edited(BACKEND, BACKEND)).train).toMatchObject(TRAIN_DEFAULTS);
    expect(loadGood(edited(BACKEND, BACKEND)).train).not.toHaveProperty("momentum");
  });

  const good: [string[], object][] = [
    [["momentum: 0.9"], { optimizer: { kind: "sgd", momentum: 0.9 } }],
    [["optimizer: adam"], { optimizer: { kind: "adam", beta1: 0.9, beta2: 0.999, epsilon: 1e-8 } }],
    [
      ["optimizer: adam", "adam: { beta2: 0.99 }"],
      { optimizer: { kind: "adam", beta1: 0.9, beta2: 0.99, epsilon: 1e-8 } },
    ],
    [
      ["schedule: { warmupUpdates: 10, decay: cosine, updates: 100 }"],
      { schedule: { warmupUpdates: 10, decay: "cosine", updates: 100 } },
    ],
    [
      ["schedule: { decay: inverse-sqrt }"],
      { schedule: { warmupUpdates: 0, decay: "inverse-sqrt", updates: null } },
    ],
    [["averaging: none"], { averaging: { kind: "none" } }],
    [["averaging: { decay: 0.999 }"], { averaging: { kind: "decay", decay: 0.999 } }],
    [["averaging: { polynomial: 3 }"], { averaging: { kind: "polynomial", power: 3 } }],
    [["initialization: glorot"], { initialization: "glorot" }],
    [
      [`warmStart: { file: public.safetensors, sha256: ${SHA} }`],
      { warmStart: { file: "/p/public.safetensors", sha256: SHA } },
    ],
  ];
  it.each(good)("%j", (lines, expected) => {
    const spec = loadGood(train(...lines)).train;
    expect(spec).toMatchObject(expected);
    expect(spec).not.toHaveProperty("adam");
  });

  const wrong: [string[], RegExp][] = [
    [["momentum: 1"], /momentum.*below 1|momentum.*less than 1|momentum.*< ?1/i],
    [["optimizer: adam", "momentum: 0.9"], /train\.momentum: optimizer adam has no momentum/],
    [["adam: { beta1: 0.5 }"], /train\.adam: expected optimizer: adam beside it/],
    [["schedule: { decay: cosine }"], /train\.schedule: decay cosine needs updates/],
    [["schedule: { updates: 5 }"], /train\.schedule\.updates: decay none has no end/],
    [
      ["schedule: { decay: linear, updates: 5, warmupUpdates: 5 }"],
      /train\.schedule\.updates: expected more than warmupUpdates \(5\), found 5/,
    ],
    [["averaging: { decay: 1 }"], /train\.averaging\.decay: expected less than 1, found 1/],
    [["averaging: {}"], /train\.averaging: expected one of decay, polynomial; found none/],
    [
      ["averaging: { decay: 0.9, polynomial: 3 }"],
      /train\.averaging: expected one of decay, polynomial; found decay and polynomial/,
    ],
    [
      ["averaging: { polynomial: .inf }"],
      /train\.averaging\.polynomial: expected a number, found Infinity/,
    ],
    [
      ["averaging: { tail: 3 }"],
      /train\.averaging\.tail: unknown key 'tail' \(known here: decay, polynomial\)/,
    ],
    [["initialization: zeros"], /train\.initialization: with zeros .* stay alike/],
    [
      ["warmStart: { file: a, sha256: abc }"],
      /train\.warmStart\.sha256: expected 64 hexadecimal digits/,
    ],
    [["ridge: 1"], /train\.ridge: only method statistics has a ridge/],
    [["method: gradients"], /train\.method/],
  ];
  it.each(wrong)("%j is refused", (lines, says) => {
    expect(said(train(...lines))).toMatch(says);
  });

  it("asks for a learning rate where there are gradients", () => {
    expect(said(without(RATE, train()))).toMatch(/train\.learningRate: missing; expected/);
  });

  it("takes zeros for a network of one layer, and not beside a warm start", () => {
    expect(loadGood(linear("initialization: zeros")).train.initialization).toBe("zeros");
    const both = linear("initialization: zeros", `warmStart: { file: a, sha256: ${SHA} }`);
    expect(said(both)).toMatch(/train\.initialization: zeros and a warm start contradict/);
  });
});

describe("method statistics", () => {
  it("is one dense layer and a ridge", () => {
    expect(loadGood(statistics("ridge: 0.5")).train).toMatchObject({
      method: "statistics",
      ridge: 0.5,
      learningRate: 1,
    });
  });

  it.each([
    "learningRate: 0.5",
    "optimizer: sgd",
    "momentum: 0.5",
    "schedule: { decay: inverse-sqrt }",
    "averaging: none",
    "initialization: he",
    `warmStart: { file: a, sha256: ${SHA} }`,
  ])("takes no %s", (line) => {
    const key = line.replace(/:.*/, "");
    expect(said(statistics(line))).toMatch(
      new RegExp(`train\\.${key}: method statistics takes no ${key}`),
    );
  });

  it("takes no other network", () => {
    const two = without(RATE, train("method: statistics"));
    expect(said(two)).toMatch(/train\.network: method statistics solves for one dense layer/);
  });
});
