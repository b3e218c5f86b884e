/**
 * What `sealstream check` warns about in the `desensitize` rules: they are allowed, but weaker than they look.
 *
 * A warning names fields and figures, never a value.
 */
import type { PipelineFile } from "../../schemas/pipeline-file.ts";
import type { RecordProperty, RecordSchema } from "../../schemas/record-schema.ts";
import { warnAboutCluster } from "./cluster-rule.ts";
import type { Complaint } from "./complaint.ts";
import type { LocatedTree } from "./located-tree.ts";
import { type PlacedRule, placeRules } from "./rule-fields.ts";

/** Subjects that collisions of shortened digests are stated for. */
const SUBJECTS = 1_000_000;
/** Below this chance of a collision among that many nobody needs to be told. */
const NEGLIGIBLE = 1e-9;

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

function warnAboutRule({ field, rule }: PlacedRule): string[] {
  const texts: string[] = [];
  if (rule.action === "hash") {
    texts.push(
      `the hash of '${field}' has no key: where values can be guessed (numbers, names, dates), it can be reversed by trying them all; pseudonymize has a key`,
    );
  }
  if (rule.action === "hash" || rule.action === "pseudonymize") {
    const chance = collisionBound(SUBJECTS, rule.truncateBits);
    if (chance > NEGLIGIBLE) {
      texts.push(
        `with ${rule.truncateBits} bits, two of ${SUBJECTS.toLocaleString("en")} values of '${field}' share one ${inWords(chance)}`,
      );
    }
  }
  return texts;
}

/** Paths of the fields that have no rule, nor anything around or inside them. */
function withoutRule(
  properties: Readonly<Record<string, RecordProperty>>,
  ruled: ReadonlySet<string>,
  prefix: string,
): string[] {
  return Object.entries(properties).flatMap(([name, property]) => {
    let path = `${prefix}${name}`;
    let here: RecordProperty | undefined = property;
    for (;;) {
      if (ruled.has(path)) return [];
      const isRebuilt = [...ruled].some((one) => one.startsWith(`${path}.`));
      if (isRebuilt) return withoutRule(here?.properties ?? {}, ruled, `${path}.`);
      if (![...ruled].some((one) => one.startsWith(`${path}[]`))) return [path];
      path += "[]";
      here = here?.items;
    }
  });
}

export function warnAboutRules(
  file: PipelineFile,
  schema: RecordSchema,
  tree: LocatedTree,
): Complaint[] {
  const placed = placeRules(file);
  const warnings = placed.flatMap((one) =>
    warnAboutRule(one).map((message) => tree.complain(one.path, message)),
  );
  const dropped = withoutRule(schema.properties, new Set(placed.map(({ field }) => field)), "");
  if (dropped.length > 0) {
    const message = `no rule, so never leaves the zone: ${dropped.join(", ")}`;
    warnings.push(tree.complainAboutKey(["desensitize"], message));
  }
  return [...warnings, ...warnAboutCluster(file, tree)];
}
