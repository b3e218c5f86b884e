/**
 * Checks of `redact` rules: types and patterns, each named once, and patterns that the detectors can be made of.
 *
 * Every pattern is compiled here, so that a file that passes `check` starts.
 */
import { DETECT_TYPES } from "../../schemas/desensitize-rules.ts";
import type { PipelineFile } from "../../schemas/pipeline-file.ts";
import { isSealstreamError } from "../errors.ts";
import type { Complaint } from "./complaint.ts";
import type { LocatedTree } from "./located-tree.ts";
import { compilePattern } from "./patterns/compile-pattern.ts";
import { shortestMatch } from "./patterns/dfa.ts";
import type { DetectionReplacement } from "./pipeline-spec.ts";

type RedactRule = Extract<PipelineFile["desensitize"][number], { action: "redact" }>;

/** What stands in place of a find. */
export function replacementOf({ mask, with: token }: RedactRule): DetectionReplacement {
  return mask === undefined
    ? { kind: "token", with: token ?? "[{type}]" }
    : { kind: "mask", with: mask };
}

/** Most bytes that one byte of text may become: a record is at most 1 MB, and the plugin's memory has a maximum. */
const GROWTH_MAX = 32;

/** Bytes that the scan goes on after the last place where a find could end: a longer way to the next is given up. */
const FIND_MAX = 512;

/** What is wrong with one pattern, or null. @param token what stands in place of its finds; null: a mask */
function checkPattern(
  { name, pattern, ignoreCase }: RedactRule["patterns"][number],
  token: string | null,
): string | null {
  try {
    const { dfa } = compilePattern(name, pattern, ignoreCase);
    const shortest = shortestMatch(dfa);
    if (shortest > FIND_MAX) {
      return `the pattern of detector ${name} finds ${shortest} bytes at least: expected ${FIND_MAX} at most`;
    }
    const bytes = Buffer.byteLength(token?.replaceAll("{type}", name) ?? "");
    if (bytes <= shortest * GROWTH_MAX) return null;
    return `the pattern of detector ${name} can find ${shortest} bytes, for which ${bytes} would stand: expected a longer pattern or a shorter with`;
  } catch (error) {
    if (isSealstreamError(error)) return error.message;
    throw error;
  }
}

/** What is wrong with the detectors of the rule at `index`. */
export function checkDetectors(rule: RedactRule, index: number, tree: LocatedTree): Complaint[] {
  const complaints: Complaint[] = [];
  const { detect, patterns } = rule;
  if (detect?.length === 0 && patterns.length === 0) {
    const message = "expected at least one type in detect, or patterns";
    complaints.push(tree.complain(["desensitize", index, "detect"], message));
  }
  if (rule.with !== undefined && rule.mask !== undefined) {
    complaints.push(tree.complain(["desensitize", index], "expected either with or mask"));
  }
  const replacement = replacementOf(rule);
  const token = replacement.kind === "token" ? replacement.with : null;
  const seen = new Set<string>();
  for (const [position, type] of (detect ?? []).entries()) {
    if (seen.has(type)) {
      const path = ["desensitize", index, "detect", position];
      complaints.push(tree.complain(path, `'${type}' stands there twice`));
    }
    seen.add(type);
  }
  const names = new Set<string>(DETECT_TYPES);
  for (const [position, one] of patterns.entries()) {
    const path = ["desensitize", index, "patterns", position];
    const name = one.name.toLowerCase();
    if (names.has(name)) {
      const message = `'${one.name}' is the name of another detector; expected another`;
      complaints.push(tree.complain([...path, "name"], message));
    }
    names.add(name);
    const message = checkPattern(one, token);
    if (message !== null) complaints.push(tree.complain([...path, "pattern"], message));
  }
  return complaints;
}
