/** Noise and accounting: what may be written, and that a file can claim only what is true of it. */
import { describe, expect, it } from "vitest";
import { formatComplaint } from "../../pipeline/spec/complaint.ts";
import { accountantOf } from "../../pipeline/spec/privacy-keys.ts";
import { complaintsOf, edited, exampleText, loadGood } from "./fixtures.ts";

const DELTA = "delta: 1e-5 }";
const privacy = (...keys: string[]): string => edited(DELTA, `delta: 1e-5, ${keys.join(", ")} }`);
const statistics = (...keys: string[]): string =>
  privacy(...keys)
    .replace("    - { dense: 32, activation: square }\n", "")
    .replace(/ {2}learningRate: .*\n/, "  method: statistics\n");
const said = (text: string): string => complaintsOf(text).map(formatComplaint).join("\n");
const line = exampleText.split("\n").findIndex((text) => text.includes(DELTA)) + 1;

const TOEPLITZ = "noise: { toeplitz: { updates: 64 } }";

describe("noise", () => {
  const good: [string, object][] = [
    ["noise: independent", { kind: "independent" }],
    [TOEPLITZ, { kind: "toeplitz", updates: 64 }],
    ["noise: { banded: { updates: 64, bands: 8 } }", { kind: "banded", updates: 64, bands: 8 }],
    ["noise: { blt: { updates: 64, buffers: 3 } }", { kind: "blt", updates: 64, buffers: 3 }],
  ];
  it.each(good)("%s", (key, noise) => {
    expect(loadGood(privacy(key)).privacy).toMatchObject({ noise, epsilon: 3, participations: 1 });
  });

  it("is independent when nothing is said", () => {
    expect(loadGood(exampleText).privacy).toMatchObject({
      ...{ noise: { kind: "independent" }, accountant: null, participations: 1 },
    });
  });

  it("takes numbers from the environment, and says where one is out of bounds", () => {
    const text = privacy(
      `noise: { blt: { updates: "\${UPDATES:469}", buffers: "\${BUFFERS:3}" } }`,
    );
    expect(loadGood(text).privacy.noise).toEqual({ kind: "blt", updates: 469, buffers: 3 });
    expect(loadGood(text, { UPDATES: "64" }).privacy.noise).toMatchObject({ updates: 64 });
    expect(complaintsOf(text, { BUFFERS: "11" }).map(formatComplaint)).toEqual([
      expect.stringMatching(
        /noise\.blt\.buffers: expected at most \d+, found another value in the environment/,
      ),
    ]);
    expect(complaintsOf(text, { BUFFERS: "few" }).map(formatComplaint)).toEqual([
      expect.stringMatching(/noise\.blt\.buffers: expected a/),
    ]);
  });

  const wrong: [string, RegExp][] = [
    ["noise: toeplitz", /privacy\.noise/],
    ["noise: { toeplitz: { } }", /noise\.toeplitz\.updates/],
    ["noise: { }", /noise: expected one of toeplitz, banded, blt; found none/],
    [
      "noise: { toeplitz: { updates: 9 }, blt: { updates: 9, buffers: 2 } }",
      /noise: expected one of toeplitz, banded, blt; found toeplitz and blt/,
    ],
    ["noise: { toeplitz: { updates: 1 } }", /updates/],
    ["noise: { toeplitz: { updates: 64, bands: 4 } }", /bands/],
    [
      "noise: { banded: { updates: 64, bands: 65 } }",
      /banded\.bands.*at most updates \(64\), found 65/,
    ],
    ["noise: { blt: { updates: 64, buffers: 11 } }", /buffers/],
    ["noise: { tree: { updates: 64 } }", /noise/],
  ];
  it.each(wrong)("%s is refused", (key, says) => {
    expect(said(privacy(key))).toMatch(says);
    expect(complaintsOf(privacy(key))[0]).toMatchObject({ line });
  });
});

describe("a claim about accounting", () => {
  it.each([
    [privacy("accountant: one-pass"), "one-pass"],
    [privacy("accountant: one-pass", "noise: independent"), "one-pass"],
    [privacy("accountant: correlated", TOEPLITZ), "correlated"],
    [statistics("accountant: statistics"), "statistics"],
    [privacy("participations: 1"), "one-pass"],
  ])("that is true is taken: %#", (text, truth) => {
    const spec = loadGood(text);
    expect(accountantOf(spec)).toBe(truth);
    expect([truth, null]).toContain(spec.privacy.accountant);
  });

  const wrong: [string, RegExp][] = [
    [
      privacy("accountant: poisson"),
      /poisson is never true of a stream.*arrival order.*expected one-pass/,
    ],
    [privacy("accountant: poisson", TOEPLITZ), /poisson is never true.*expected correlated/],
    [statistics("accountant: poisson"), /poisson is never true.*expected statistics/],
    [
      privacy("accountant: k-fold"),
      /k-fold is not true.*expected one-pass: each record enters one/,
    ],
    [privacy("accountant: correlated"), /correlated is not true here; expected one-pass/],
    [privacy("accountant: one-pass", TOEPLITZ), /one-pass is not true here; expected correlated/],
    [privacy("accountant: statistics"), /statistics is not true here; expected one-pass/],
    [statistics("accountant: one-pass"), /one-pass is not true here; expected statistics/],
    [privacy("accountant: k-fold", "participations: 3"), /participations: expected 1, found 3/],
    [privacy("participations: 2"), /participations: expected 1, found 2.*another run/],
    [privacy("participations: 0"), /participations/],
    [privacy("accountant: zcdp"), /accountant/],
  ];
  it.each(wrong)("that is not is refused: %#", (text, says) => {
    expect(said(text)).toMatch(says);
  });
});
