/**
 * How much a rule hides of a value. An action that is not named here hides it: new ones are made to protect.
 */
import type { PipelineFile } from "../../../schemas/pipeline-file.ts";
import type { RecordProperty } from "../../../schemas/record-schema.ts";

export type FileRule = PipelineFile["desensitize"][number];

/** `none`: the value leaves as it is; `weak`: most of it does. */
export type Protection = "none" | "weak" | "strong";

/** HIPAA's Safe Harbor leaves 3 of a postcode's 5 digits at most. */
const MOST = 0.6;
/** Characters that tell much of a value whose length nobody has bounded. */
const MANY = 4;

type Mask = Extract<FileRule, { action: "mask" }>;

/**
 * What a mask shows of a value at the most: so many of its characters. Null where at least half of every value is
 * hidden, or too little is shown to matter. (A value no longer than what is kept is masked whole.)
 */
export function shownByMask(
  { keepFirst, keepLast }: Mask,
  property: RecordProperty | null,
): { readonly kept: number; readonly of: number } | null {
  const kept = keepFirst + keepLast;
  const least = Math.max(property?.minLength ?? 0, kept + 1);
  const most = property?.maxLength ?? Number.POSITIVE_INFINITY;
  if (kept === 0 || least > most || kept * 2 <= least) return null;
  return kept >= MANY || kept * 2 > most ? { kept, of: least } : null;
}

/** Whether a prefix of so many characters is most of a value. */
export function isMost(
  prefix: number,
  property: RecordProperty | null,
  isPostcode: boolean,
): boolean {
  if (isPostcode && prefix >= MANY) return true;
  return prefix > MOST * (property?.maxLength ?? Number.POSITIVE_INFINITY);
}

export function protection(rule: FileRule, property: RecordProperty | null): Protection {
  switch (rule.action) {
    case "keep":
      return "none";
    case "perturb":
      return "weak";
    case "mask":
      return shownByMask(rule, property) === null ? "strong" : "weak";
    case "generalize": {
      const isWeak =
        rule.to === "month" ||
        rule.width === 1 ||
        (rule.prefix !== undefined && isMost(rule.prefix, property, false));
      return isWeak ? "weak" : "strong";
    }
    default:
      return "strong";
  }
}
