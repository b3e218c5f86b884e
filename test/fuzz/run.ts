/**
 * `npm run fuzz -- --seed S --documents N --build release|debug|both`: random rule sets and documents through the
 * desensitize plugin, each held against a second reader and a model of the rules.
 *
 * The last line is `nothing found` and the exit code 0, or a finding as small as it could be made, and 1.
 */
import { parseArgs } from "node:util";
import { BUILDS, type Build } from "../plugins/desensitize/guest.ts";
import { createRandom } from "../plugins/desensitize/random.ts";
import { runFuzz, type Tally } from "./fuzz.ts";
import { shrink } from "./shrink.ts";
import { tellFinding, tellTally } from "./tell.ts";

const DOCUMENTS = "1000000";
const TOLD_EVERY_MS = 5_000;
const CHOICES: Readonly<Record<string, readonly Build[]>> = {
  release: ["desensitize"],
  debug: ["desensitize.debug"],
  both: BUILDS,
};

function readOptions() {
  const { values } = parseArgs({
    options: {
      seed: { type: "string" },
      documents: { type: "string", default: DOCUMENTS },
      build: { type: "string", default: "both" },
    },
  });
  const seed = values.seed === undefined ? createRandom().seed : Number(values.seed);
  const documents = Number(values.documents);
  const builds = CHOICES[values.build];
  const isFine = Number.isSafeInteger(seed) && Number.isSafeInteger(documents) && documents > 0;
  if (!isFine || builds === undefined) {
    throw new Error("usage: fuzz [--seed INTEGER] [--documents N] [--build release|debug|both]");
  }
  return { seed, documents, builds };
}

const { seed, documents, builds } = readOptions();
const beganMs = performance.now();
let toldMs = beganMs;

function tellProgress(tally: Tally): void {
  const nowMs = performance.now();
  if (nowMs - toldMs < TOLD_EVERY_MS) return;
  toldMs = nowMs;
  const seconds = (nowMs - beganMs) / 1000;
  const perSecond = Math.round(tally.documents / seconds);
  const left = Math.round((documents - tally.documents) / perSecond);
  process.stderr.write(
    `${Math.round(seconds)} s  ${tally.documents} of ${documents}, ${perSecond} a second, ${left} s left\n`,
  );
}

process.stderr.write(`fuzz with seed ${seed} on ${builds.join(" and ")}\n`);
const { tally, finding } = runFuzz({ seed, documents, builds, onProgress: tellProgress });
process.stdout.write(`${tellTally(tally)}\n`);
if (finding === null) {
  process.stdout.write(`seed ${seed}: nothing found\n`);
} else {
  process.stderr.write("found something, making it small\n");
  process.stdout.write(`${tellFinding(finding, shrink(finding, builds))}\n`);
  process.exitCode = 1;
}
