/**
 * The fuzz: random rule sets, random documents for each, every build, the model, and a marker that must not come out.
 *
 * Everything follows from the seed: rule set r from the seed and r, document d from the rule set's seed and d. So a
 * finding is made again without what came before it.
 */
import { isSealstreamError } from "../../pipeline/errors.ts";
import type { Build } from "../plugins/desensitize/guest.ts";
import { createRandom, type Random } from "../plugins/desensitize/random.ts";
import { problemOf } from "./compare.ts";
import { randomDocument, type Written } from "./documents.ts";
import { createGuests, type Document, type Guests } from "./guests.ts";
import { findMarker } from "./markers.ts";
import { type Model, modelOf } from "./model.ts";
import { type RuleSet, randomRuleSet } from "./rule-sets.ts";

/** Documents of one rule set. */
const SET_DOCUMENTS = 1000;
/** How many of them the plugin gets at a time: its memory is sized by that, and one alone has none of others' to spare. */
const BATCH_SIZES = [1, 5, 50, 250, 250, 250];

export interface FuzzOptions {
  readonly seed: number;
  readonly documents: number;
  readonly builds: readonly Build[];
  /** Called after each rule set. */
  readonly onProgress?: ((tally: Tally) => void) | undefined;
}

/** What came up so far. */
export interface Tally {
  documents: number;
  ruleSets: number;
  /** Documents that held a marker and left. */
  marked: number;
  /** Documents by status, `ok` among them; `unsure` are those that only the builds were compared for. */
  readonly statuses: Map<string, number>;
}

/** A document that was not treated as it must be. */
export interface Finding {
  readonly problem: string;
  readonly seed: number;
  readonly ruleSetNumber: number;
  readonly set: RuleSet;
  readonly documents: readonly Document[];
  readonly row: number;
}

/** Another seed for each pair of numbers. */
function seedOf(seed: number, n: number): number {
  let mixed = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(n + 1, 0xc2b2ae35);
  mixed ^= mixed >>> 15;
  return Math.imul(mixed, 0x27d4eb2f) >>> 0;
}

interface Batch {
  readonly set: RuleSet;
  readonly setSeed: number;
  readonly from: number;
  readonly to: number;
}

/** Chance that a document is cut in two, so that the rest of it lies right behind it in the plugin's memory. */
const CUT_CHANCE = 0.03;

/** Some documents cut in two: a reader that looks past its end finds there what it hopes for. */
function cutSome(written: readonly Written[], random: Random): Written[] {
  const cut = [...written];
  for (let i = 0; i + 1 < cut.length; i++) {
    const one = cut[i];
    const isPlain = one?.marker === null && cut[i + 1]?.marker === null;
    if (!random.chance(CUT_CHANCE) || !isPlain || one.bytes === null) continue;
    const at = random.int(one.bytes.length + 1);
    cut[i] = { bytes: one.bytes.subarray(0, at), marker: null };
    cut[i + 1] = { bytes: one.bytes.subarray(at), marker: null };
  }
  return cut;
}

/** The documents of a batch. @param salt another one gives them other markers, and nothing else */
function documentsOf({ set, setSeed, from, to }: Batch, salt: number): Written[] {
  const written = Array.from({ length: to - from }, (_, i) => {
    const seed = seedOf(setSeed, from + i);
    return randomDocument(set, createRandom(seed), createRandom(seedOf(seed, salt)));
  });
  return cutSome(written, createRandom(seedOf(setSeed, -1 - from)));
}

type Judgement = { readonly row: number; readonly problem: string } | null;

/** Runs documents through guests and model; the first row at fault. */
export function judgeBatch(
  set: RuleSet,
  documents: readonly Document[],
  builds: readonly Build[],
): Judgement {
  const model = modelOf(set);
  return judgeWith({ model, guests: createGuests(builds, set, model.observed.length) }, documents);
}

interface Judging {
  readonly model: Model;
  readonly guests: Guests;
  readonly tally?: Tally | undefined;
  /** Looks at what left; answers what is wrong with it. */
  readonly onOutput?: ((row: number, text: string) => string | null) | undefined;
}

function judgeWith(
  { model, guests, tally, onOutput }: Judging,
  documents: readonly Document[],
): Judgement {
  const { answers, differ } = guests.run(documents);
  if (answers.length !== documents.length) return { row: 0, problem: "not one answer a document" };
  for (const [row, document] of documents.entries()) {
    const answer = answers[row] ?? "no answer";
    const { problem, status } = problemOf(model, document, row, answer);
    if (problem !== null) return { row, problem };
    if (tally !== undefined) tally.statuses.set(status, (tally.statuses.get(status) ?? 0) + 1);
    if (typeof answer === "string" || onOutput === undefined) continue;
    const leak = onOutput(row, `${answer.key.toString()}\n${answer.value.toString()}`);
    if (leak !== null) return { row, problem: leak };
  }
  return differ ? { row: 0, problem: "the builds differ" } : null;
}

/** Runs a batch; a marker that comes out counts only when another one in its place comes out too. */
function runBatch(batch: Batch, model: Model, guests: Guests, tally: Tally) {
  const written = documentsOf(batch, 0);
  const documents = written.map(({ bytes }) => bytes);
  const onOutput = (row: number, text: string): string | null => {
    const { marker } = written[row] ?? { marker: null };
    if (marker === null) return null;
    tally.marked++;
    const form = findMarker(marker, text);
    if (form === null || !leaksAgain(batch, row, guests)) return null;
    return `the marker ${marker} came out as ${form}`;
  };
  const found = judgeWith({ model, guests, tally, onOutput }, documents);
  return found === null ? null : { ...found, documents };
}

/** Whether two other markers in the same place come out too; eight digits may come up by chance. */
function leaksAgain(batch: Batch, row: number, guests: Guests): boolean {
  return [1, 2].every((salt) => {
    const written = documentsOf(batch, salt);
    const { marker } = written[row] ?? { marker: null };
    const answer = guests.run(written.map(({ bytes }) => bytes)).answers[row];
    if (marker === null || answer === undefined || typeof answer === "string") return false;
    return findMarker(marker, `${answer.key.toString()}\n${answer.value.toString()}`) !== null;
  });
}

/** A trap or an impossible answer as what is wrong with the batch. */
function orTrap<T>(batch: Batch, run: () => T) {
  try {
    return run();
  } catch (error) {
    if (!isSealstreamError(error)) throw error;
    const documents = documentsOf(batch, 0).map(({ bytes }) => bytes);
    return { row: 0, problem: `${error.code}: ${error.message}`, documents };
  }
}

/** Runs the fuzz to its end or its first finding. */
export function runFuzz({ seed, documents, builds, onProgress }: FuzzOptions): {
  readonly tally: Tally;
  readonly finding: Finding | null;
} {
  const tally: Tally = { documents: 0, ruleSets: 0, marked: 0, statuses: new Map() };
  for (let n = 0; tally.documents < documents; n++) {
    const setSeed = seedOf(seed, n);
    const set = randomRuleSet(createRandom(setSeed));
    const model = modelOf(set);
    const guests = createGuests(builds, set, model.observed.length);
    const end = Math.min(SET_DOCUMENTS, documents - tally.documents);
    const size = createRandom(seedOf(setSeed, n)).pick(BATCH_SIZES);
    for (let from = 0; from < end; from += size) {
      const batch = { set, setSeed, from, to: Math.min(end, from + size) };
      const found = orTrap(batch, () => runBatch(batch, model, guests, tally));
      if (found !== null) return { tally, finding: { ...found, seed, ruleSetNumber: n, set } };
      tally.documents += batch.to - batch.from;
    }
    const empty = judgeWith({ model, guests }, []);
    if (empty !== null)
      return { tally, finding: { ...empty, documents: [], seed, ruleSetNumber: n, set } };
    tally.ruleSets++;
    onProgress?.(tally);
  }
  return { tally, finding: null };
}
