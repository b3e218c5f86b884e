/** `backend: auto`: the fastest candidate on the coming work, by a clock that the test drives. */
import { expect, test } from "vitest";
import { SealstreamError } from "../../../pipeline/errors.ts";
import { createAutoBackend } from "../../../pipeline/stages/train/auto-backend.ts";
import type {
  BackendName,
  ClippedSum,
  TrainBackend,
} from "../../../pipeline/stages/train/backend.ts";
import { findPackage, loadsAddon } from "../../../pipeline/stages/train/optional-packages.ts";
import { createTrainBackend } from "../../../pipeline/stages/train/tfjs-backend.ts";

const shape = {
  network: { inputs: 4, layers: [{ outputs: 2, activation: "none" as const }] },
  rows: 8,
  l2ClipNorm: 1,
};
const nothing: ClippedSum = {
  sum: new Float32Array(10),
  clippedRows: 0,
  unusableRows: 0,
  lossSum: 0,
};

/** A candidate whose call takes that long on the clock. */
function candidate(name: BackendName, takesMs: number, time: { now: number }): TrainBackend {
  return {
    name,
    load: () => Promise.resolve(),
    clippedGradientSum: () => {
      time.now += takesMs;
      return Promise.resolve(nothing);
    },
    liveTensors: () => 0,
  };
}

const missing: TrainBackend = {
  name: "wasm",
  load: () => Promise.reject(new SealstreamError("backend-unavailable", "not here")),
  clippedGradientSum: () => Promise.reject(new Error("never called")),
  liveTensors: () => 0,
};

test.each([
  [1, 2, "wasm"],
  [2, 1, "cpu"],
] as const)("takes the fastest: %d ms against %d ms is %s", async (wasmMs, cpuMs, name) => {
  const time = { now: 0 };
  const auto = createAutoBackend(
    [candidate("wasm", wasmMs, time), candidate("cpu", cpuMs, time)],
    () => time.now,
  );
  expect(auto.name).toBe("auto");
  await auto.load(shape);
  expect(auto.name).toBe(name);
  const after = time.now;
  await auto.load(shape);
  expect(time.now).toBe(after);
});

test("passes over a candidate that this machine lacks", async () => {
  const time = { now: 0 };
  const auto = createAutoBackend([missing, candidate("cpu", 1, time)], () => time.now);
  await auto.load(shape);
  expect(auto.name).toBe("cpu");
});

test("says so when there is none, and does not hide another failure", async () => {
  const none = createAutoBackend([missing], () => 0);
  await expect(none.load()).rejects.toThrow(
    expect.objectContaining({ code: "backend-unavailable" }),
  );
  const broken = { ...missing, load: () => Promise.reject(new TypeError("a bug")) };
  await expect(createAutoBackend([broken], () => 0).load()).rejects.toThrow(TypeError);
});

test("chooses among the real ones", async () => {
  const auto = createTrainBackend("auto");
  await auto.load(shape);
  expect(["webgpu", "wasm", "cpu"]).toContain(auto.name);
});

test("stops calling a candidate that is hopeless, and all of them when time is up", async () => {
  const time = { now: 0 };
  let calls = 0;
  const counting = (name: BackendName, takesMs: number): TrainBackend => {
    const own = candidate(name, takesMs, time);
    return {
      ...own,
      clippedGradientSum: (request) => {
        calls += 1;
        return own.clippedGradientSum(request);
      },
    };
  };
  const emulated = createAutoBackend(
    [counting("webgpu", 900), counting("wasm", 100), counting("cpu", 101)],
    () => time.now,
  );
  await emulated.load(shape);
  expect(emulated.name).toBe("wasm");
  // Two of the first, eight of each of the others.
  expect(calls).toBe(2 + 8 + 8);
  calls = 0;
  const slow = createAutoBackend([counting("wasm", 4_000), counting("cpu", 3_000)], () => time.now);
  await slow.load(shape);
  expect(slow.name).toBe("cpu");
  expect(calls).toBe(4);
});

test.skipIf(findPackage("@tensorflow/tfjs-node") !== null)(
  "says of an addon's package that it is not installed",
  async () => {
    await expect(createTrainBackend("tfjs-node").load()).rejects.toThrow(
      expect.objectContaining({
        code: "backend-unavailable",
        message: expect.stringContaining("@tensorflow/tfjs-node is not installed"),
      }),
    );
    expect(loadsAddon("tfjs-node")).toBe(false);
    expect(loadsAddon("wasm")).toBe(false);
  },
);
