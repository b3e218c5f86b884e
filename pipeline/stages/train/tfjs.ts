/**
 * TensorFlow.js: the only file that imports it, how a backend of it is started, and how work runs on one.
 *
 * Traps: bare tfjs-core registers no gradients; the library has one current backend for the whole process. Must not
 * know networks.
 */
import { createRequire } from "node:module";
import path from "node:path";
import * as tf from "@tensorflow/tfjs";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import { SealstreamError } from "../../errors.ts";
import type { BackendName } from "./backend.ts";

export { tf };

/** Starts a backend and makes it the current one. @throws backend-unavailable when this machine cannot run it */
export async function loadTfjs(name: BackendName): Promise<void> {
  // Production mode: without it the library greets on stderr and checks every value of every kernel twice.
  tf.enableProdMode();
  if (name === "wasm") {
    const main = createRequire(import.meta.url).resolve("@tensorflow/tfjs-backend-wasm");
    setWasmPaths(`${path.dirname(main)}/`);
  }
  if (!(await tf.setBackend(name))) {
    throw new SealstreamError(
      "backend-unavailable",
      `TensorFlow.js cannot start its ${name} backend here; set train.backend to another.`,
    );
  }
  await tf.ready();
}

/**
 * Runs `work` on a loaded backend. Between choosing it and the work there must be no `await`, or another lane's choice
 * comes in between.
 */
export async function runOn(name: BackendName, work: () => tf.Tensor): Promise<tf.Tensor> {
  // For a backend that is loaded the switch takes effect before the promise is made.
  const switched = tf.getBackend() === name ? null : tf.setBackend(name);
  if (tf.getBackend() !== name) throw new SealstreamError("internal", "A backend is not loaded.");
  const tensor = work();
  await switched;
  return tensor;
}

/** Data of a tensor, which is disposed. */
export async function download(tensor: tf.Tensor): Promise<Float32Array> {
  try {
    // A float32 tensor's data is a Float32Array because the library keeps the type.
    return (await tensor.data()) as Float32Array;
  } finally {
    tensor.dispose();
  }
}
