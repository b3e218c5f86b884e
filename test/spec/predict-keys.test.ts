/** `predict` and `encrypt.packs`: defaults, what may be written, and the words for what may not. */
import { describe, expect, it } from "vitest";
import { formatComplaint } from "../../pipeline/spec/complaint.ts";
import { complaintsOf, edited, load, loadGood } from "./fixtures.ts";

const PACKING = "predict: { packing: auto }";
const predict = (keys: string): string => edited(PACKING, `predict: { ${keys} }`);
const packs = (keys: string): string => edited("lingerMs: 500,", keys);

describe("keys about prediction", () => {
  it("have defaults", () => {
    const spec = loadGood(edited(PACKING, ""));
    expect(spec.predict).toEqual({
      encrypted: true,
      packing: "auto",
      model: "secret",
      precisionBits: 3,
      workers: "auto",
      parameters: "auto",
    });
    const bare = "packs: { lingerMs: 500, maxBytesPerRecord: 200000 }";
    expect(loadGood(edited(bare, "packs: {}")).encrypt.packs).toEqual({
      lingerMs: 200,
      maxBytesPerRecord: 200_000,
      rate: null,
    });
  });

  it("are taken as they are written", () => {
    const keys =
      "packing: slots, model: shared, precisionBits: 7.5, workers: 3, parameters: ckks-4096-46.46.17-s24";
    expect(loadGood(predict(keys)).predict).toEqual({
      encrypted: true,
      packing: "slots",
      model: "shared",
      precisionBits: 7.5,
      workers: 3,
      parameters: "ckks-4096-46.46.17-s24",
    });
    expect(loadGood(packs("rate: 0.25,")).encrypt.packs.rate).toBe(0.25);
  });

  it("take numbers from the environment", () => {
    const loaded = load(packs(`rate: "\${RATE:20}",`), { RATE: "1500" });
    expect(loaded).toMatchObject({ status: "ok", spec: { encrypt: { packs: { rate: 1500 } } } });
    expect(loadGood(predict(`workers: "\${WORKERS:2}"`)).predict.workers).toBe(2);
  });

  const wrong: [string, RegExp][] = [
    [
      predict("packing: diagonals"),
      /predict.packing: expected one of auto, batch, slots, found 'diagonals'/,
    ],
    [
      predict("packing: slot"),
      /expected one of auto, batch, slots, found 'slot'; did you mean 'slots'\?/,
    ],
    [predict("packing: bsgs"), /packing 'bsgs' is not in this version/],
    [
      predict("model: open"),
      /predict.model: expected one of secret, shared, encrypted, found 'open'/,
    ],
    [predict("precisionBits: 0"), /predict.precisionBits: expected at least 1, found 0/],
    [predict("precisionBits: 25"), /predict.precisionBits: expected at most 24, found 25/],
    [predict("precisionBits: .nan"), /predict.precisionBits: expected a number/],
    [predict("workers: 0"), /predict.workers: expected at least 1, found 0/],
    [predict("workers: 65"), /predict.workers: expected at most 64, found 65/],
    [predict("workers: 1.5"), /predict.workers: expected auto or a whole number, found 1.5/],
    [predict("workers: all"), /predict.workers: expected auto or a number, found 'all'/],
    [
      predict("parameters: best"),
      /predict.parameters: expected auto or the id of a parameter set, such as ckks-8192-46.46.47-s24, found 'best'/,
    ],
    [predict("parameters: ckks-8192-60-s30"), /expected auto or the id of a parameter set/],
    [predict("precision: 8"), /unknown key 'precision'.*\(known here: encrypted, packing, model,/],
    [predict("encryptWeights: true"), /option 'encryptWeights' is not in this version/],
    [packs("rate: 0,"), /encrypt.packs.rate: expected more than 0, found 0/],
    [packs("rate: 1000001,"), /encrypt.packs.rate: expected at most 1000000, found 1000001/],
    [packs("rate: fast,"), /encrypt.packs.rate: expected a number, found 'fast'/],
    [packs("fill: 1,"), /option 'fill' is not in this version/],
  ];
  it.each(wrong)("%# are refused with line and path", (text, says) => {
    const complaints = complaintsOf(text);
    expect(complaints.map(formatComplaint).join("\n")).toMatch(says);
    expect(complaints).toHaveLength(1);
    expect(complaints[0]?.line).toBeGreaterThan(50);
  });
});
