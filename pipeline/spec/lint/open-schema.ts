/**
 * Warnings about the record schema: objects that may have fields which it does not name.
 */
import type { RecordProperty, RecordSchema } from "../../../schemas/record-schema.ts";
import type { Complaint } from "../complaint.ts";
import type { LocatedTree } from "../located-tree.ts";
import { typesOf } from "../read-record-schema.ts";
import { type Subject, schemaPath } from "./leaves.ts";

interface Place {
  readonly path: string;
  readonly property: RecordProperty;
}

/** A property and all that it holds. */
function within({ path, property }: Place): Place[] {
  const inside = Object.entries(property.properties ?? {}).map(([name, one]) => ({
    path: `${path}.${name}`,
    property: one,
  }));
  const items =
    property.items === undefined ? [] : [{ path: `${path}[]`, property: property.items }];
  return [{ path, property }, ...[...inside, ...items].flatMap(within)];
}

/** @param tree of the record schema's file */
export function warnAboutOpenObjects(
  subjects: readonly Subject[],
  schema: RecordSchema,
  tree: LocatedTree,
): Complaint[] {
  const kept = subjects.filter(({ rule }) => rule.action === "keep").map(({ field }) => field);
  const leaves = (path: string): boolean =>
    kept.some((field) => path === field || path.startsWith(`${field}[]`));
  const places = Object.entries(schema.properties).flatMap(([path, property]) =>
    within({ path, property }),
  );
  return places.flatMap(({ path, property }) => {
    if (!typesOf(property).includes("object")) return [];
    // An object that is described nowhere has a warning at its rule.
    const isKept = leaves(path) && Object.keys(property.properties ?? {}).length > 0;
    const at = [...schemaPath(path), "additionalProperties"];
    if (isKept && property.additionalProperties !== false) {
      const message = `'${path}' is kept, so fields of it that are not named here leave too: say additionalProperties: false`;
      return [tree.complain(at, message)];
    }
    if (!isKept && property.additionalProperties === true) {
      const message = `fields of '${path}' that are not named here are dropped without a word: with additionalProperties: false a record that has one is refused`;
      return [tree.complain(at, message)];
    }
    return [];
  });
}
