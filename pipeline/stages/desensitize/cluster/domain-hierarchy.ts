/**
 * The values of a hierarchy as codes: its leaves, depth first, so that all values under one name are a range of codes.
 *
 * A range is rendered as the name of the lowest group of the hierarchy that holds all of it, `*` for all values.
 * Must not know files: it gets the paths that were read from one.
 */
import { SealstreamError } from "../../../errors.ts";
import type { Domain } from "./domain.ts";

interface TreeNode {
  readonly name: string;
  readonly parent: TreeNode | null;
  readonly children: Map<string, TreeNode>;
  /** Codes under it. */
  low: number;
  high: number;
  /** The highest codes of its children, rising. */
  ends: readonly number[];
}

const ROOT_NAME = "*";

function nodeUnder(parent: TreeNode | null, name: string): TreeNode {
  return { name, parent, children: new Map(), low: 0, high: -1, ends: [] };
}

function growTree(paths: readonly (readonly string[])[]): TreeNode {
  const root = nodeUnder(null, ROOT_NAME);
  for (const [value, ...levels] of paths) {
    let node = root;
    for (const name of levels.reverse()) {
      const next = node.children.get(`g${name}`) ?? nodeUnder(node, name);
      node.children.set(`g${name}`, next);
      node = next;
    }
    // Because a value and a group may have one name; each kind has its own letter.
    if (value !== undefined) node.children.set(`v${value}`, nodeUnder(node, value));
  }
  return root;
}

/** Numbers the leaves from `next` on and notes them by value; returns the first number that is free. */
function numberLeaves(node: TreeNode, next: number, leaves: TreeNode[]): number {
  node.low = next;
  if (node.children.size === 0) {
    leaves.push(node);
    node.high = next;
    return next + 1;
  }
  let free = next;
  for (const child of node.children.values()) free = numberLeaves(child, free, leaves);
  node.high = free - 1;
  node.ends = [...node.children.values()].map(({ high }) => high);
  return free;
}

/** @throws spec-invalid when one name stands for two sets of values: a reader could not tell which is meant */
function checkNames(node: TreeNode, seen: Map<string, TreeNode>): void {
  const same = seen.get(node.name);
  if (same !== undefined && (same.low !== node.low || same.high !== node.high)) {
    throw new SealstreamError("spec-invalid", "cluster: a hierarchy has one name for two groups");
  }
  seen.set(node.name, node);
  for (const child of node.children.values()) checkNames(child, seen);
}

/** The end of the child that is nearest to the middle of low..high, so that halves are groups where they can be. */
function cutChildren({ ends }: TreeNode, low: number, high: number): number {
  const middle = (low + high - 1) / 2;
  let [from, to] = [0, ends.length];
  while (from < to) {
    const probe = (from + to) >> 1;
    if ((ends[probe] ?? 0) < middle) from = probe + 1;
    else to = probe;
  }
  // Because low and high are under different children, one of the two lies between them.
  const [before = -1, after = high] = [ends[from - 1], ends[from]];
  if (before < low) return after;
  return after >= high || middle - before <= after - middle ? before : after;
}

export function createHierarchyDomain(
  paths: readonly (readonly [value: string, ...levels: string[]])[],
): Domain {
  const root = growTree(paths);
  const leaves: TreeNode[] = [];
  const size = root.children.size === 0 ? 0 : numberLeaves(root, 0, leaves);
  checkNames(root, new Map());
  const codes = new Map(leaves.map(({ name, low }) => [name, low]));
  if (codes.size < paths.length) {
    throw new SealstreamError("spec-invalid", "cluster: a hierarchy has a value twice");
  }
  const holding = (low: number, high: number): TreeNode => {
    let node = leaves[low] ?? root;
    while (node.high < high && node.parent !== null) node = node.parent;
    return node;
  };
  return {
    size,
    encode: (text) => codes.get(text) ?? null,
    render(low, high) {
      const node = holding(low, high);
      return node.low === 0 && node.high === size - 1 && size > 1 ? ROOT_NAME : node.name;
    },
    middle: (low, high) => cutChildren(holding(low, high), low, high),
    covered(low, high) {
      const node = holding(low, high);
      return node.high - node.low + 1;
    },
    mean: null,
  };
}
