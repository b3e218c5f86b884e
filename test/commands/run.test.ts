/** How a stage process ends: what may pass asks to be started again, everything else ends for good. */
import { describe, expect, it } from "vitest";
import { EXIT } from "../../pipeline/commands/context.ts";
import { orAgain, run } from "../../pipeline/commands/run.ts";
import { ERROR_CODES, type ErrorCode, SealstreamError } from "../../pipeline/errors.ts";
import { recordingContext } from "./recording-context.ts";

// Because Object.keys of the list has exactly its codes.
const CODES = Object.keys(ERROR_CODES) as ErrorCode[];

/** Ends a stage with an error: its exit code and what it said. */
async function end(error: unknown, signal = new AbortController().signal) {
  const told: string[] = [];
  const code = await orAgain({ signal, tell: (line) => told.push(line) }, Promise.reject(error));
  return { code, told };
}

const kafkajsError = Object.assign(new Error("a record"), { name: "KafkaJSConnectionError" });

describe("a stage's exit code", () => {
  it("is that of its work when nothing failed", async () => {
    const context = { signal: new AbortController().signal, tell: () => undefined };
    for (const code of [EXIT.ok, EXIT.failed]) {
      expect(await orAgain(context, Promise.resolve(code))).toBe(code);
    }
  });

  it.each(CODES.filter((code) => ERROR_CODES[code].retriable))(
    "asks for another start after %s",
    async (code) => {
      expect(await end(new SealstreamError(code, "What to do."))).toEqual({
        code: 75,
        told: ["What to do."],
      });
    },
  );

  it.each(CODES.filter((code) => !ERROR_CODES[code].retriable))(
    "is left to the command line after %s, which no other start mends",
    async (code) => {
      const error = new SealstreamError(code, "What to do.");
      await expect(end(error)).rejects.toBe(error);
    },
  );

  it("asks for another start after the client library's own error, without its text", async () => {
    expect(await end(kafkajsError)).toEqual({
      code: 75,
      told: ["Kafka failed (KafkaJSConnectionError): start again."],
    });
  });

  it("is left to the command line after a bug", async () => {
    const error = new TypeError("x is not a function");
    await expect(end(error)).rejects.toBe(error);
  });

  it("is that of success when it was asked to end while it waited", async () => {
    const signal = AbortSignal.abort();
    expect(await end(new SealstreamError("broker-unavailable", "None."), signal)).toEqual({
      code: 0,
      told: [],
    });
    expect(await end(kafkajsError, signal)).toEqual({ code: 0, told: [] });
    await expect(end(new SealstreamError("spec-invalid", "No."), signal)).rejects.toThrow("No.");
  });
});

it("does not ask for another start of a stage whose pipeline file is not valid", async () => {
  const { context } = recordingContext();
  // This very file: TypeScript, and no pipeline.
  const file = import.meta.filename;
  const options = { inProcess: true, stage: "encrypt" };
  await expect(run(context, file, options)).rejects.toMatchObject({ code: "spec-invalid" });
});
