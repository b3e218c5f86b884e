/**
 * Warnings about rules that hide less than they look: digests, masks, prefixes, short lists, keys used twice.
 */
import type { Complaint } from "../complaint.ts";
import type { LocatedTree } from "../located-tree.ts";
import type { RuleFiles } from "../rules.ts";
import { identifierOf, isChoice, type Leaf, quasiIdentifierOf, type Subject } from "./leaves.ts";
import { wordsOf } from "./names.ts";
import { type FileRule, isMost, shownByMask } from "./protection.ts";
import { list } from "./words.ts";

/** Subjects that collisions of shortened digests are stated for. */
const SUBJECTS = 1_000_000;
/** Below this chance of a collision among that many nobody needs to be told. */
const NEGLIGIBLE = 1e-9;
/** Fewer texts than this make most people share one with somebody in the room. */
const SHORT_LIST = 20;
/** Forms of so few characters can be counted: 10,000 for digits. */
const SHORT_FORM = 4;

/**
 * Chance that two of `subjects` values share a digest of `bits` bits, from above: the birthday bound
 * subjects * (subjects - 1) / 2^(bits + 1), 1 at most.
 */
export function collisionBound(subjects: number, bits: number): number {
  return Math.min(1, (subjects * (subjects - 1)) / 2 ** (bits + 1));
}

function inWords(chance: number): string {
  return chance >= 0.5 ? "almost certainly" : `with a chance of up to ${chance.toPrecision(2)}`;
}

type Digest = Extract<FileRule, { action: "hash" | "pseudonymize" }>;

function aboutDigest(field: string, rule: Digest): string[] {
  const texts: string[] = [];
  if (rule.action === "hash") {
    const cut = rule.truncateBits < 256 ? " (cutting it short hides nothing)" : "";
    texts.push(
      `the hash of '${field}' has no key: where values can be guessed (numbers, names, dates), it can be reversed by trying them all${cut}; pseudonymize has a key`,
    );
  }
  const chance = collisionBound(SUBJECTS, rule.truncateBits);
  if (chance > NEGLIGIBLE) {
    texts.push(
      `with ${rule.truncateBits} bits, two of ${SUBJECTS.toLocaleString("en")} values of '${field}' share one ${inWords(chance)}`,
    );
  }
  return texts;
}

function aboutReplacement(
  { field, rule, path }: Subject,
  leaf: Leaf,
  lists: RuleFiles["lists"],
): string[] {
  if (rule.action !== "replace") return [];
  const texts = lists.get(Number(path[1]))?.length ?? 0;
  if (rule.from !== undefined && texts < SHORT_LIST) {
    return [
      `the list for '${field}' has ${texts} ${texts === 1 ? "text" : "texts"}: different values become the same one, so it neither tells people apart nor stops counting; take a longer list, or with for a constant`,
    ];
  }
  const most = leaf.property?.maxLength ?? Number.POSITIVE_INFINITY;
  if (rule.format === true && (most <= SHORT_FORM || isChoice(leaf))) {
    return [
      `'${field}' has so few possible values that its fakes can be told by counting them: generalize it, or replace it with a constant`,
    ];
  }
  return [];
}

function aboutWhatIsLeft(field: string, rule: FileRule, leaf: Leaf): string[] {
  if (rule.action === "mask") {
    const shown = shownByMask(rule, leaf.property);
    if (shown === null) return [];
    return [
      `the mask shows ${shown.kept} of the ${shown.of} characters that a value of '${field}' may have: keep fewer, or give it a minLength of ${2 * shown.kept} in the record schema`,
    ];
  }
  if (rule.action === "generalize" && rule.prefix !== undefined) {
    const isPostcode = quasiIdentifierOf(leaf) === "a postcode";
    if (!isMost(rule.prefix, leaf.property, isPostcode)) return [];
    return [
      `the first ${rule.prefix} characters are most of '${field}': leave fewer${isPostcode ? " (HIPAA allows 3 of a postcode)" : ""}`,
    ];
  }
  if (rule.action === "generalize" && rule.width === 1) {
    return [`ranges of width 1 leave '${field}' as it is: take wider ones`];
  }
  return [];
}

/** Warnings about single rules. */
export function warnAboutWeakRules(
  subjects: readonly Subject[],
  lists: RuleFiles["lists"],
  tree: LocatedTree,
): Complaint[] {
  return subjects.flatMap((subject) => {
    const { field, rule, path } = subject;
    const leaf = subject.leaves[0] ?? { path: field, property: null };
    const isDigest = rule.action === "hash" || rule.action === "pseudonymize";
    const texts = [
      ...(isDigest ? aboutDigest(field, rule) : []),
      ...aboutReplacement(subject, leaf, lists),
      ...aboutWhatIsLeft(field, rule, leaf),
    ];
    return texts.map((message) => tree.complain(path, message));
  });
}

/** What a field is about, so that two of them may be meant to have the same pseudonyms. */
function meaningOf({ field, leaves: [leaf] }: Subject): string {
  const kind = leaf === undefined ? null : (identifierOf(leaf) ?? quasiIdentifierOf(leaf));
  return kind ?? wordsOf(field).at(-1) ?? field;
}

/** Rules under which equal values of two fields become equal texts: null where nothing is shared. */
function sharedUnder(rule: FileRule): string | null {
  // Another encoding or length of a digest hides nothing of which one it is.
  if (rule.action === "pseudonymize") return JSON.stringify([rule.key]);
  // Without a tweak of its own each field has its path as one.
  if (rule.action !== "fpe" || rule.tweak === undefined) return null;
  return JSON.stringify([rule.key, rule.alphabet, rule.tweak]);
}

/** Fields that mean different things and can be joined by their pseudonyms; one warning a key, at the second field. */
export function warnAboutSharedKeys(subjects: readonly Subject[], tree: LocatedTree): Complaint[] {
  const groups = new Map<string, Subject[]>();
  for (const subject of subjects) {
    const shared = sharedUnder(subject.rule);
    if (shared !== null) groups.set(shared, [...(groups.get(shared) ?? []), subject]);
  }
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    const other = group.find((one) => first !== undefined && meaningOf(one) !== meaningOf(first));
    if (other === undefined) return [];
    const names = list(group.map(({ field }) => field));
    const message =
      other.rule.action === "fpe"
        ? `${names} share key and tweak: equal values become equal texts, so the fields can be joined; leave tweak out`
        : `${names} share a key: equal values have equal pseudonyms, so the fields can be joined; give each meaning a key of its own`;
    return [tree.complain(other.path, message)];
  });
}
