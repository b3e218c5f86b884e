/** The probe of a backend's digits: real backends pass, rounded factors do not, on either side. */
import { expect, test } from "vitest";
import { keepsFloat32 } from "../../../pipeline/stages/train/float32-probe.ts";
import { loadTfjs, runOn, tf } from "../../../pipeline/stages/train/tfjs.ts";

/** A product whose factors are cut to so many bits. */
const product =
  (leftBits: number, rightBits: number) =>
  async (left: Float32Array, right: Float32Array, size: number) => {
    const [a, b] = [left.map((v) => cut(v, leftBits)), right.map((v) => cut(v, rightBits))];
    return Float32Array.from({ length: size * size }, (_, index) => {
      const [row, column] = [Math.floor(index / size), index % size];
      let sum = 0;
      for (let k = 0; k < size; k += 1) {
        sum += (a[row * size + k] ?? 0) * (b[k * size + column] ?? 0);
      }
      return sum;
    });
  };

/** Numbers of 0 to 2 to the nearest of so many bits. */
function cut(value: number, bits: number): number {
  const unit = 2 ** (bits - 1);
  return Math.round(value * unit) / unit;
}

test.each([
  ["float32", 24, 24, true],
  ["TF32", 11, 11, false],
  ["TF32 on the left", 11, 24, false],
  ["TF32 on the right", 24, 11, false],
  ["bfloat16", 8, 8, false],
  ["one bit less", 23, 23, false],
])("%s", async (_name, left, right, kept) => {
  expect(await keepsFloat32(product(left, right))).toBe(kept);
});

test("a backend that rounds the factors of its products is not taken", async () => {
  await loadTfjs("cpu");
  const kernel = tf.getKernel("BatchMatMul", "cpu");
  tf.unregisterKernel("BatchMatMul", "cpu");
  tf.registerKernel({
    ...kernel,
    kernelFunc: (options) => {
      const rounded = Object.fromEntries(
        Object.entries(options.inputs).map(([name, input]) => {
          const own = input as tf.Tensor;
          const values = own.dataSync().map((value) => cut(value, 11));
          return [name, tf.tensor(values, own.shape)];
        }),
      );
      return kernel.kernelFunc({ ...options, inputs: rounded });
    },
  });
  try {
    await expect(loadTfjs("cpu")).rejects.toMatchObject({
      code: "backend-unavailable",
      message: expect.stringContaining("NVIDIA_TF32_OVERRIDE"),
    });
  } finally {
    tf.unregisterKernel("BatchMatMul", "cpu");
    tf.registerKernel(kernel);
  }
  const before = await runOn("cpu", () => tf.memory().numTensors);
  await loadTfjs("cpu");
  expect(tf.memory().numTensors).toBe(before);
});
