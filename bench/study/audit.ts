/**
 * `npm run study -- audit [--quick]`: an empirical epsilon of the real mechanism, from below, beside the ledger's.
 *
 * The product's own train and aggregate run (training-zone.ts) with a canary in every update (canary.ts); what its guesses
 * prove (bounds.ts) must be below the ledger's epsilon, and near enough to say something. That the audit can fail is shown
 * in the same run: with two thirds of the noise, and with gradients twice as long as the clip, the proof must lie above
 * the ledger's epsilon of the honest run. Writes `build/audit.json`; ends with 1 when any of this is not so.
 */
import { fork } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { analyticGaussianNoiseMultiplier } from "../../pipeline/privacy/gaussian.ts";
import type { AuditAnswer, AuditJob, Sabotage } from "./audit-worker.ts";
import { epsilonLowerBound, plainEpsilonLowerBound } from "./bounds.ts";

const BUILD = join(import.meta.dirname, "..", "..", "build");
const WORKER = join(import.meta.dirname, "audit-worker.ts");
const EPSILON = 3;
const DELTA = 1e-5;
const CONFIDENCE = 0.95;
/** What `--sabotage noise` leaves of the noise. */
const LEFT_OF_NOISE = 2 / 3;
/** The proof must be at least this share of the ledger's epsilon, or the audit says nothing. */
const NEAR_ENOUGH = 0.6;

/** Updates that correlated noise hangs together over: each block of them is one trial. */
const BLOCK = 4;

interface Case {
  readonly name: string;
  readonly job: AuditJob;
}

export interface AuditRow {
  readonly mechanism: string;
  readonly sabotage: Sabotage;
  readonly trials: number;
  /** What the ledger claims, or would of the honest mechanism. */
  readonly claimed: number;
  /** Proven from below with confidence 0.95: of a Gaussian release, and of any. */
  readonly proven: number;
  readonly provenOfAny: number;
  readonly asExpected: boolean;
}

function casesOf(quick: boolean, only: Sabotage | null): Case[] {
  const honest = analyticGaussianNoiseMultiplier(EPSILON, DELTA);
  const of = (
    name: string,
    noise: AuditJob["noise"],
    sabotage: Sabotage,
    trials: number,
  ): Case => ({
    name,
    job: {
      ...{ epsilon: EPSILON, delta: DELTA, sabotage, noise, trials: quick ? trials / 4 : trials },
      noiseMultiplier: sabotage === "noise" ? honest * LEFT_OF_NOISE : null,
    },
  });
  const block = { toeplitz: { updates: BLOCK } };
  const all = [
    of("independent noise", "independent", "none", 5_000),
    of("independent, 2/3 of the noise", "independent", "noise", 1_500),
    of("independent, twice the clip", "independent", "clip", 1_500),
    of("Toeplitz noise", block, "none", 1_500),
    of("Toeplitz, 2/3 of the noise", block, "noise", 1_500),
    of("Toeplitz, twice the clip", block, "clip", 600),
  ];
  return only === null ? all : all.filter(({ job }) => job.sabotage === only);
}

function runJob(job: AuditJob): Promise<AuditAnswer> {
  const answered = Promise.withResolvers<AuditAnswer>();
  const child = fork(WORKER, [JSON.stringify(job)]);
  // Because the worker sends nothing else.
  child.on("message", (message) => answered.resolve(message as AuditAnswer));
  child.on("close", (code) => answered.reject(new Error(`an audit ended with ${code}`)));
  return answered.promise;
}

/** As many at a time as there are cores. */
async function runAll(cases: readonly Case[]): Promise<AuditAnswer[]> {
  const answers: AuditAnswer[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    for (let at = next++; at < cases.length; at = next++)
      answers[at] = await runJob(cases[at]!.job);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  return answers;
}

function rowOf({ name, job }: Case, { ledgerEpsilon, result }: AuditAnswer): AuditRow {
  const { sabotage } = job;
  // Of less noise the ledger of that run says so: the claim that is put to the test is the honest one.
  const claimed = sabotage === "noise" ? job.epsilon : ledgerEpsilon;
  const proven = epsilonLowerBound(result.middle, CONFIDENCE, job.delta);
  const isBelow = proven <= claimed;
  return {
    ...{ mechanism: name, sabotage, trials: result.middle.absent + result.middle.present, claimed },
    proven,
    provenOfAny: plainEpsilonLowerBound(result.extreme, CONFIDENCE, job.delta),
    asExpected: sabotage === "none" ? isBelow && proven >= NEAR_ENOUGH * claimed : !isBelow,
  };
}

export interface AuditOptions {
  readonly quick: boolean;
  /** Only this mechanism; its claim is then expected to be refuted. */
  readonly sabotage: Sabotage | null;
}

/** @returns exit code */
export async function audit({ quick, sabotage }: AuditOptions): Promise<number> {
  const cases = casesOf(quick, sabotage);
  const answers = await runAll(cases);
  const rows = cases.map((one, at) => rowOf(one, answers[at]!));
  console.table(
    rows.map(({ mechanism, trials, claimed, proven, provenOfAny, asExpected }) => ({
      mechanism,
      trials,
      "ledger's epsilon": Number(claimed.toFixed(3)),
      "proven, Gaussian": Number(proven.toFixed(3)),
      "proven, any": Number(provenOfAny.toFixed(3)),
      verdict: verdictOf(claimed, proven),
      "as expected": asExpected,
    })),
  );
  console.log(
    `Lower bounds hold with confidence ${CONFIDENCE} at delta ${DELTA}. The quick run's are too weak to be near.`,
  );
  mkdirSync(BUILD, { recursive: true });
  const file = join(BUILD, "audit.json");
  const at = new Date().toISOString();
  const about = { name: "audit", at, quick, delta: DELTA, confidence: CONFIDENCE };
  writeFileSync(file, `${JSON.stringify({ ...about, rows, answers }, null, 2)}\n`);
  console.log(`written to ${file}`);
  return rows.every(({ asExpected }) => asExpected) ? 0 : 1;
}

function verdictOf(claimed: number, proven: number): string {
  if (proven > claimed) return "refuted";
  return `not refuted, proof at ${Math.round((100 * proven) / claimed)} %`;
}
