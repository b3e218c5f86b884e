/**
 * Warnings about values that leave as they are, or nearly: direct identifiers, quasi-identifiers together, free text.
 */
import type { PipelineFile } from "../../../schemas/pipeline-file.ts";
import type { Complaint } from "../complaint.ts";
import type { LocatedTree } from "../located-tree.ts";
import { identifierOf, isFreeText, type Leaf, quasiIdentifierOf, type Subject } from "./leaves.ts";
import { protection } from "./protection.ts";
import { list } from "./words.ts";

/** A field that is named after what is wrong with it, not again as free text. */
type Found = "identifier" | "quasi-identifier" | "free text" | "unknown";

function find(leaf: Leaf): Found | null {
  if (identifierOf(leaf) !== null) return "identifier";
  if (quasiIdentifierOf(leaf) !== null) return "quasi-identifier";
  if (leaf.property === null) return "unknown";
  return isFreeText(leaf) ? "free text" : null;
}

/** Direct identifiers and free text, each by itself. */
export function warnAboutKeptValues(
  file: PipelineFile,
  subjects: readonly Subject[],
  tree: LocatedTree,
): Complaint[] {
  const naming = new Set([file.record.id, file.record.subject ?? file.record.id]);
  return subjects.flatMap(({ rule, path, leaves }) => {
    if (rule.action !== "keep" && rule.action !== "perturb") return [];
    return leaves.flatMap((leaf) => {
      const message = describe(leaf, find(leaf), rule.action === "keep");
      // What names the record or the person has a warning of its own.
      return message === null || naming.has(leaf.path) ? [] : [tree.complain(path, message)];
    });
  });
}

function describe(leaf: Leaf, found: Found | null, isKept: boolean): string | null {
  if (found === "identifier") {
    const leaves = isKept ? "leaves as it is" : "leaves almost as it is";
    return `'${leaf.path}' looks like ${identifierOf(leaf)} and ${leaves}: pseudonymize, mask or drop it`;
  }
  if (!isKept) return null;
  if (found === "free text") {
    return `'${leaf.path}' is text that may say anything of anybody and leaves as it is: redact or drop it, or bound it by enum, pattern or a maxLength of 64 in the record schema`;
  }
  if (found === "unknown") {
    return `the record schema does not say what '${leaf.path}' holds, and all of it leaves: describe it, or drop it`;
  }
  return null;
}

/** Details that single people out in combination; one warning for all of them, at the first. */
export function warnAboutQuasiIdentifiers(
  file: PipelineFile,
  subjects: readonly Subject[],
  tree: LocatedTree,
): Complaint[] {
  const found = subjects.flatMap(({ rule, path, leaves, field }) =>
    leaves.flatMap((leaf) => {
      const isOpen = protection(rule, leaf.property) !== "strong";
      const isQuasi = identifierOf(leaf) === null && quasiIdentifierOf(leaf) !== null;
      return isOpen && isQuasi ? [{ name: leaf.path, field, path }] : [];
    }),
  );
  const [first, second] = found;
  if (first === undefined || second === undefined) return [];
  const inputs = new Set([...file.features.inputs, file.features.label].map(({ field }) => field));
  const features = found.filter(({ field }) => inputs.has(field));
  const others = features.length > 0 && features.length < found.length ? "the others" : "them";
  const model =
    features.length === 0
      ? ""
      : ` (${list(features.map(({ name }) => name))}: the model's, so only what it needs)`;
  const message = `${list(found.map(({ name }) => name))} leave together, and such details in combination single people out: generalize or cluster ${others}${model}`;
  return [tree.complain(first.path, message)];
}

/** What names the record or the person becomes the key of every later record, or says which are one person's. */
export function warnAboutNaming(
  file: PipelineFile,
  subjects: readonly Subject[],
  tree: LocatedTree,
): Complaint[] {
  const { id, subject } = file.record;
  const kept = (name: string | undefined): Leaf | null => {
    const found = subjects.find(({ field, rule }) => field === name && rule.action === "keep");
    return found?.leaves[0] ?? null;
  };
  const complaints: Complaint[] = [];
  const person = kept(subject);
  if (person !== null) {
    const looks = identifierOf(person);
    const what = looks === null ? "names the person" : `names the person and looks like ${looks}`;
    const message = `'${person.path}' ${what}, and is kept: whoever reads the desensitized records sees whose they are; pseudonymize it`;
    complaints.push(tree.complain(["record", "subject"], message));
  }
  const record = kept(id);
  const looks = record === null ? null : identifierOf(record);
  if (record !== null && looks !== null && id !== subject) {
    const message = `'${record.path}' looks like ${looks}, and is kept: it becomes the key of every later record; pseudonymize it, or take another field as id`;
    complaints.push(tree.complain(["record", "id"], message));
  }
  return complaints;
}
