/**
 * Which parts of a record leave, as a tree: in clear, sealed for an audience, or (what is not in the tree) not at all.
 *
 * The writer builds what it seals by it and the reader judges what it finds by it. Must not know keys or Kafka.
 */
import type { RecordFieldsSpec } from "../spec/pipeline-spec.ts";

export type FieldNode =
  | { readonly kind: "clear" }
  /** `audience`: names of grants, sorted. */
  | { readonly kind: "sealed"; readonly audience: readonly string[] }
  | { readonly kind: "object"; readonly fields: ReadonlyMap<string, FieldNode> }
  | { readonly kind: "array"; readonly element: FieldNode };

export type FieldTree = Extract<FieldNode, { kind: "object" }>;

type Leaf = Extract<FieldNode, { kind: "clear" | "sealed" }>;
type Placed = readonly [path: readonly string[], leaf: Leaf];

/** The tree of checked fields: none twice, none inside another. */
export function createFieldTree({ clear, sealed }: RecordFieldsSpec): FieldTree {
  const placed: Placed[] = [
    ...clear.map((field): Placed => [partsOf(field), { kind: "clear" }]),
    ...sealed.flatMap((group) =>
      group.fields.map(
        (field): Placed => [partsOf(field), { kind: "sealed", audience: group.for }],
      ),
    ),
  ];
  return { kind: "object", fields: fieldsOf(placed) };
}

/** `a.b[].c` as `a`, `b`, `[]`, `c`. */
function partsOf(path: string): string[] {
  return path.replaceAll("[]", ".[]").split(".");
}

function nodeOf(placed: readonly Placed[]): FieldNode {
  const [first] = placed;
  if (first !== undefined && first[0].length === 0) return first[1];
  if (first?.[0][0] !== "[]") return { kind: "object", fields: fieldsOf(placed) };
  return { kind: "array", element: nodeOf(placed.map(([[, ...rest], leaf]) => [rest, leaf])) };
}

function fieldsOf(placed: readonly Placed[]): ReadonlyMap<string, FieldNode> {
  const groups = Map.groupBy(placed, ([[name = ""]]) => name);
  return new Map(
    [...groups].map(([name, group]) => [
      name,
      nodeOf(group.map(([[, ...rest], leaf]) => [rest, leaf])),
    ]),
  );
}

/** Path of a part of an object; names hold no dot or bracket, so that no two parts have one path. */
export function memberPath(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}

/** Path of an element, from 0. */
export function elementPath(path: string, index: number): string {
  return `${path}[${index}]`;
}
