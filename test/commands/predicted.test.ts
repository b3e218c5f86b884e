/** What is there only for prediction on ciphertexts, refused where the file predicts nothing. */
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { requirePrediction, stagesOf } from "../../pipeline/commands/predicted.ts";
import { predictions } from "../../pipeline/commands/predictions.ts";
import { run } from "../../pipeline/commands/run.ts";
import { edited, loadGood } from "../spec/fixtures.ts";
import { recordingContext } from "./recording-context.ts";

const DIGITS = join(import.meta.dirname, "../../examples/digits");
const folder = mkdtempSync(join(tmpdir(), "sealstream-predicted-"));
afterAll(() => rmSync(folder, { recursive: true }));
copyFileSync(join(DIGITS, "form.schema.json"), join(folder, "form.schema.json"));
const file = join(folder, "pipeline.yaml");
const text = readFileSync(join(DIGITS, "pipeline.yaml"), "utf8");
writeFileSync(file, text.replace("packing: auto", "encrypted: false"));

test("run has every stage but predict", () => {
  expect(stagesOf(loadGood(edited("packing: auto", "encrypted: false")))).toEqual([
    ...["desensitize", "encrypt", "train", "aggregate"],
  ]);
  expect(stagesOf(loadGood(edited("packing: auto", "packing: slots"))).at(-1)).toBe("predict");
});

describe("refused with what to know", () => {
  test("run --stage predict", async () => {
    const { context } = recordingContext();
    await expect(run(context, file, { stage: "predict" })).rejects.toMatchObject({
      code: "usage",
      message: `There is no stage predict: predict.encrypted is false in ${file}, so nothing is predicted on ciphertexts.`,
    });
  });

  test("predictions, before any key is looked for", async () => {
    const { context } = recordingContext();
    await expect(predictions(context, file, {})).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(/^There are no predictions: predict.encrypted is false/),
    });
  });
});

test("nothing is refused where the file predicts", () => {
  const spec = loadGood(edited("packing: auto", "packing: slots"));
  expect(() => requirePrediction(spec, "No")).not.toThrow();
});
