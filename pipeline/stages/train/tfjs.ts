/**
 * TensorFlow.js: the only file that imports it, how a backend of it is started, and how work runs on one.
 *
 * wasm and cpu come with Sealstream; tfjs-node, tfjs-node-gpu and webgpu are optional peers, found by name when asked for.
 * All register themselves at the one copy of the library that this file imports: a peer that brought a copy of its own
 * is refused, because its backend would be unknown here.
 * Traps: bare tfjs-core registers no gradients; the library has one current backend for the whole process. Must not
 * know networks.
 */
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import util from "node:util";
import * as tf from "@tensorflow/tfjs";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import { SealstreamError } from "../../errors.ts";
import type { BackendName } from "./backend.ts";
import { keepsFloat32 } from "./float32-probe.ts";
import { findPackage, type PackageFolders } from "./optional-packages.ts";

export { tf };

/** How TensorFlow.js itself calls a backend. tfjs-node and tfjs-node-gpu both register `tensorflow`. */
const REGISTERED: Readonly<Record<BackendName, string>> = {
  "tfjs-node": "tensorflow",
  "tfjs-node-gpu": "tensorflow",
  webgpu: "webgpu",
  wasm: "wasm",
  cpu: "cpu",
};

/** Which of tfjs-node and tfjs-node-gpu this process has loaded: there can be one. */
let native: BackendName | null = null;

/**
 * Starts a backend and makes it the current one.
 * @throws backend-unavailable when this machine cannot run it, or it computes in less than float32
 */
export async function loadTfjs(name: BackendName, folders: PackageFolders = {}): Promise<void> {
  // Production mode: without it the library greets on stderr and checks every value of every kernel twice.
  tf.enableProdMode();
  if (name === "tfjs-node" || name === "tfjs-node-gpu") loadNative(name, folders);
  if (name === "webgpu") await loadWebgpu(folders);
  if (name === "wasm") {
    const main = createRequire(import.meta.url).resolve("@tensorflow/tfjs-backend-wasm");
    setWasmPaths(`${path.dirname(main)}/`);
  }
  const registered = REGISTERED[name];
  if (tf.findBackendFactory(registered) === null && tf.findBackend(registered) === null) {
    throw unavailable(name, "its package brought a second copy of @tensorflow/tfjs");
  }
  let started = false;
  try {
    started = await tf.setBackend(registered);
    await tf.ready();
  } catch {
    started = false;
  }
  if (!started) throw unavailable(name, "it does not start on this machine");
  if (!(await keepsFloat32((left, right, size) => squareProduct(name, left, right, size)))) {
    const why = "its products round float32; set NVIDIA_TF32_OVERRIDE=0 in the environment";
    throw unavailable(name, why);
  }
}

async function squareProduct(
  name: BackendName,
  left: Float32Array,
  right: Float32Array,
  size: number,
): Promise<Float32Array> {
  const product = await runOn(name, () =>
    tidied(() => tf.matMul(tf.tensor2d(left, [size, size]), tf.tensor2d(right, [size, size]))),
  );
  return download(product);
}

function unavailable(name: BackendName, why: string): SealstreamError {
  return new SealstreamError(
    "backend-unavailable",
    `TensorFlow.js has no ${name} backend here (${why}); set train.backend to another, or see deploy/tfjs-node/build.sh.`,
  );
}

/** The addon on libtensorflow. */
function loadNative(name: "tfjs-node" | "tfjs-node-gpu", folders: PackageFolders): void {
  if (native === name) return;
  if (native !== null) throw unavailable(name, `this process has ${native} already`);
  const file = findPackage(`@tensorflow/${name}`, folders);
  if (file === null) throw unavailable(name, `@tensorflow/${name} is not installed`);
  // Node 23 took isNullOrUndefined away, and warns of isArray; the addon's JavaScript of 2024 calls both.
  Object.assign(util, {
    isNullOrUndefined: (value: unknown) => value === null || value === undefined,
    isArray: Array.isArray,
  });
  try {
    createRequire(import.meta.url)(file);
  } catch {
    throw unavailable(name, "its addon does not load");
  }
  native = name;
}

/** WebGPU through Dawn. */
async function loadWebgpu(folders: PackageFolders): Promise<void> {
  const dawn = findPackage("webgpu", folders);
  const backend = findPackage("@tensorflow/tfjs-backend-webgpu", folders);
  if (dawn === null || backend === null) {
    throw unavailable("webgpu", "webgpu and @tensorflow/tfjs-backend-webgpu are not installed");
  }
  if (tf.findBackendFactory("webgpu") !== null) return;
  try {
    const { create, globals } = (await import(pathToFileURL(dawn).href)) as DawnModule;
    Object.assign(globalThis, globals);
    // Node's own `navigator` has no gpu, and is read-only.
    Object.defineProperty(globalThis, "navigator", {
      value: Object.assign(Object.create(globalThis.navigator ?? null), { gpu: create([]) }),
      configurable: true,
      writable: true,
    });
    createRequire(import.meta.url)(backend);
  } catch {
    throw unavailable("webgpu", "Dawn does not load");
  }
}

/** What the npm package `webgpu` gives. */
interface DawnModule {
  /** A `navigator.gpu`. @param options Dawn's own switches */
  create(options: readonly string[]): object;
  readonly globals: object;
}

/**
 * Runs `work` on a loaded backend. Between choosing it and the work there must be no `await`, or another lane's choice
 * comes in between.
 */
export async function runOn<T>(name: BackendName, work: () => T): Promise<T> {
  const registered = REGISTERED[name];
  // For a backend that is loaded the switch takes effect before the promise is made.
  const switched = tf.getBackend() === registered ? null : tf.setBackend(registered);
  if (tf.getBackend() !== registered) {
    throw new SealstreamError("internal", "A backend is not loaded.");
  }
  const result = work();
  await switched;
  return result;
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

/** `tf.tidy` as it is: tensors in the result live on, however deep in objects and arrays they are. */
export function tidied<T>(work: () => T): T {
  // The library's type wants an index signature; its code walks through any object.
  return tf.tidy(work as () => tf.TensorContainer) as T;
}
