/**
 * Makes a finding small: fewer documents, then fewer fields in the rule set, then fewer bytes in each document, as long
 * as something is still wrong. What is wrong may change on the way: the smallest case is told, whatever it shows.
 */
import { isSealstreamError } from "../../pipeline/errors.ts";
import type { Build } from "../plugins/desensitize/guest.ts";
import { type Finding, judgeBatch } from "./fuzz.ts";
import type { Document } from "./guests.ts";
import type { RuleSet } from "./rule-sets.ts";

/** Tries of one shrinking; each makes new instances, some milliseconds. */
const MOST_TRIES = 6000;
const PLAIN = Buffer.from("a0 ");

export interface Shrunk {
  readonly problem: string;
  readonly set: RuleSet;
  readonly documents: readonly Document[];
}

/** Removes parts of a list, large ones first, as long as what is left is still bad. */
export function reduceList<T>(
  list: readonly T[],
  isBad: (list: readonly T[]) => boolean,
): readonly T[] {
  let kept = list;
  for (
    let size = Math.ceil(kept.length / 2);
    size >= 1;
    size = size === 1 ? 0 : Math.ceil(size / 2)
  ) {
    for (let at = 0; at < kept.length; ) {
      const less = [...kept.slice(0, at), ...kept.slice(at + size)];
      if (isBad(less)) kept = less;
      else at += size;
    }
  }
  return kept;
}

const MARKS = Buffer.from("{[,]}");
/** How many signs further a part may end: members with some values of their own. */
const REACH = 9;

/** Removes members and elements of JSON with their comma, as long as what is left is still bad. */
export function reduceJson(
  json: readonly number[],
  isBad: (json: readonly number[]) => boolean,
): readonly number[] {
  let kept = json;
  const marksOf = (): number[] => [...kept.keys()].filter((at) => MARKS.includes(kept[at] ?? 0));
  for (let marks = marksOf(), n = 0; n < marks.length; n++) {
    const from = marks[n] ?? 0;
    for (const to of marks.slice(n + 1, n + REACH).toReversed()) {
      const parts = [kept.toSpliced(from, to - from), kept.toSpliced(from + 1, to - from)];
      const less = parts.find((part) => isBad(part));
      if (less === undefined) continue;
      kept = less;
      marks = marksOf();
      n--;
      break;
    }
  }
  return kept;
}

/** What is wrong with these documents under this rule set, by new instances; null: nothing, or no such rule set. */
export function problemIn(
  set: RuleSet,
  documents: readonly Document[],
  builds: readonly Build[],
): string | null {
  try {
    return judgeBatch(set, documents, builds)?.problem ?? null;
  } catch (error) {
    if (!isSealstreamError(error)) throw error;
    return error.code === "spec-invalid" ? null : `${error.code}: ${error.message}`;
  }
}

function without(set: RuleSet, top: RuleSet["top"]): RuleSet {
  const has = (name: string | null): boolean => top.some((field) => field.name === name);
  return {
    ...{ ...set, top },
    subject: has(set.subject) ? set.subject : null,
    sensitive: has(set.sensitive) ? set.sensitive : null,
  };
}

/** The smallest case that was found for a finding; the finding itself when it does not show by itself. */
export function shrink(finding: Finding, builds: readonly Build[]): Shrunk {
  let { set, problem } = finding;
  let tries = 0;
  const isBad = (trySet: RuleSet, documents: readonly Document[]): boolean => {
    if (tries++ > MOST_TRIES) return false;
    const found = problemIn(trySet, documents, builds);
    if (found !== null) problem = found;
    return found !== null;
  };
  const alone = [finding.documents[finding.row] ?? null];
  let documents: readonly Document[] = isBad(set, alone) ? alone : finding.documents;
  if (documents !== alone && !isBad(set, documents)) return { problem, set, documents: alone };
  documents = reduceList(documents, (less) => isBad(set, less));
  const top = reduceList(set.top, (less) => {
    return less.some(({ name }) => name === set.id) && isBad(without(set, less), documents);
  });
  set = without(set, top);
  documents.forEach((document, i) => {
    if (document === null) return;
    const tryBytes = (bytes: readonly number[]): boolean =>
      isBad(set, documents.with(i, Uint8Array.from(bytes)));
    let bytes = reduceList(reduceJson([...document], tryBytes), tryBytes);
    bytes.forEach((_, at) => {
      for (const plain of PLAIN) {
        if (bytes[at] === plain || PLAIN.includes(bytes[at] ?? plain)) break;
        if (tryBytes(bytes.with(at, plain))) bytes = bytes.with(at, plain);
      }
    });
    documents = documents.with(i, Uint8Array.from(bytes));
  });
  return { problem, set, documents };
}
