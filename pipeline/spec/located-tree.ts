/**
 * YAML (or JSON, which YAML 1.2 contains) to plain values, remembering where each key and value stands.
 *
 * Bounded on purpose: file size, nesting, and nodes after aliases are resolved, so that a few hundred bytes of
 * aliases cannot become gigabytes ("billion laughs"). Only the YAML 1.2 core schema: no custom tags, no merge keys,
 * one document. Must not read files or the environment: both are handed in.
 * Source: YAML 1.2.2, the npm package `yaml`.
 */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
  type YAMLMap,
} from "yaml";
import { type Complaint, formatPath, type KeyPath } from "./complaint.ts";
import { type Environment, interpolate } from "./interpolate.ts";

/** 256 KiB: a thousand times a usual pipeline file, and parsed in well under a second. */
export const MAX_FILE_BYTES = 256 * 1024;
/** More than a file of that size needs without aliases. */
const MAX_NODES = 50_000;
/** The pipeline file nests 4 deep, a record schema 4. */
const MAX_DEPTH = 32;
/** Resolving one searches the whole document: this many keep a hostile file below a second. */
const MAX_ALIASES = 256;

export interface LocatedTree {
  readonly value: unknown;
  /** True when the value at this path was filled from the environment: it must not be repeated in a message. */
  isInterpolated(path: KeyPath): boolean;
  /** Complaint about the value at a path, or about the nearest one above it that exists. */
  complain(path: KeyPath, message: string): Complaint;
  /** Complaint about the key at a path. */
  complainAboutKey(path: KeyPath, message: string): Complaint;
}

export type ReadTree =
  | { readonly status: "ok"; readonly tree: LocatedTree }
  | { readonly status: "invalid"; readonly complaints: readonly Complaint[] };

interface Place {
  readonly key: number;
  readonly value: number;
}

interface Walk {
  readonly document: Document.Parsed;
  readonly env: Environment | null;
  readonly places: Map<string, Place>;
  readonly interpolated: Set<string>;
  readonly problems: {
    readonly path: KeyPath;
    readonly offset: number;
    readonly message: string;
  }[];
  nodes: number;
  aliases: number;
}

const pathKey = (path: KeyPath): string => JSON.stringify(path);

/**
 * Reads one file.
 * @param bytes the file's content
 * @param file its name in complaints
 * @param env where `${VAR}` is looked up; null: strings stay as they are
 */
export function readTree(bytes: Uint8Array, file: string, env: Environment | null): ReadTree {
  const whole = (message: string): ReadTree => ({
    status: "invalid",
    complaints: [{ file, line: 1, column: 1, path: "", message }],
  });
  if (bytes.length > MAX_FILE_BYTES) {
    return whole(`expected at most ${MAX_FILE_BYTES} bytes, found ${bytes.length}`);
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    // Because a decoder's only failure here is that the bytes are not UTF-8.
    return whole("expected UTF-8 text");
  }
  const lines = new LineCounter();
  let documents: Document.Parsed[];
  try {
    const parsed = parseAllDocuments(text, {
      lineCounter: lines,
      prettyErrors: false,
      schema: "core",
      version: "1.2",
      uniqueKeys: true,
      stringKeys: true,
      strict: true,
    });
    documents = Array.isArray(parsed) ? parsed : [];
  } catch {
    // Because the parser reports errors in the document and throws only when its recursion runs out of stack.
    return whole("expected YAML that is not nested this deeply");
  }
  const at = (offset: number, path: KeyPath, message: string): Complaint => {
    const { line, col } = lines.linePos(Math.min(Math.max(offset, 0), text.length));
    return {
      file,
      line: Math.max(line, 1),
      column: Math.max(col, 1),
      path: formatPath(path),
      message,
    };
  };
  const [document, second] = documents;
  if (document === undefined) return whole("the file is empty");
  if (second !== undefined) {
    return {
      status: "invalid",
      complaints: [at(second.range[0], [], "expected one YAML document")],
    };
  }
  // The first fault: what follows it is mostly its consequence, in a file of records by the thousand.
  const [fault] = [...document.errors, ...document.warnings];
  if (fault !== undefined) {
    return { status: "invalid", complaints: [at(fault.pos[0], [], withoutText(fault.message))] };
  }
  return walkDocument(document, env, at);
}

/** A parser's message without the text that it quotes: the file may be one of records, or hold a secret that lost its quotes. */
function withoutText(message: string): string {
  return (message.split("\n")[0] ?? "").replace(/:? ["'`].*$/, "");
}

function walkDocument(
  document: Document.Parsed,
  env: Environment | null,
  at: (offset: number, path: KeyPath, message: string) => Complaint,
): ReadTree {
  const walk: Walk = {
    document,
    env,
    places: new Map(),
    interpolated: new Set(),
    problems: [],
    nodes: 0,
    aliases: 0,
  };
  const value = toValue(walk, document.contents, { path: [], depth: 0, from: null });
  if (walk.problems.length > 0) {
    const complaints = walk.problems.map((problem) =>
      at(problem.offset, problem.path, problem.message),
    );
    return { status: "invalid", complaints };
  }
  const locate = (path: KeyPath): Place => {
    for (let length = path.length; length > 0; length--) {
      const place = walk.places.get(pathKey(path.slice(0, length)));
      if (place !== undefined) return place;
    }
    return { key: 0, value: 0 };
  };
  const tree: LocatedTree = {
    value,
    isInterpolated: (path) => walk.interpolated.has(pathKey(path)),
    complain: (path, message) => at(locate(path).value, path, message),
    complainAboutKey: (path, message) => at(locate(path).key, path, message),
  };
  return { status: "ok", tree };
}

/** Where a node is met. */
interface Here {
  readonly path: KeyPath;
  readonly depth: number;
  /** Offset of the alias through which the node was reached, or null. */
  readonly from: number | null;
}

function toValue(walk: Walk, node: Node | null, { path, depth, from }: Here): unknown {
  const offset = from ?? node?.range?.[0] ?? 0;
  walk.nodes += 1;
  if (walk.nodes > MAX_NODES || depth > MAX_DEPTH || walk.aliases > MAX_ALIASES) {
    // Once is enough: every node from here on fails at once as well.
    if (walk.problems.length === 0) {
      const message = `expected at most ${MAX_NODES} values and ${MAX_ALIASES} aliases, nested at most ${MAX_DEPTH} deep`;
      walk.problems.push({ path, offset, message });
    }
    return null;
  }
  if (node === null) return null;
  if (isAlias(node)) {
    walk.aliases += 1;
    const target = node.resolve(walk.document);
    if (target === undefined) {
      walk.problems.push({ path, offset, message: "this alias names no anchor before it" });
      return null;
    }
    return toValue(walk, target, { path, depth: depth + 1, from: offset });
  }
  if (isMap(node)) return toObject(walk, node, { path, depth, from });
  if (isSeq(node)) {
    return node.items.map((item, index) => {
      const itemPath = [...path, index];
      // Because a sequence of a parsed document holds nodes only; `yaml` types it for hand-made ones too.
      const child = item as Node | null;
      const place = from ?? child?.range?.[0] ?? offset;
      walk.places.set(pathKey(itemPath), { key: place, value: place });
      return toValue(walk, child, { path: itemPath, depth: depth + 1, from });
    });
  }
  if (!isScalar(node)) return null;
  if (typeof node.value !== "string" || walk.env === null) return node.value;
  const { text, touched, complaints } = interpolate(node.value, walk.env);
  if (touched) walk.interpolated.add(pathKey(path));
  for (const message of complaints) walk.problems.push({ path, offset, message });
  return text;
}

function toObject(walk: Walk, map: YAMLMap, { path, depth, from }: Here): Record<string, unknown> {
  // Without a prototype, a key named __proto__ is a key like any other.
  const object: Record<string, unknown> = Object.create(null);
  for (const pair of map.items) {
    // Because pairs of a parsed document hold nodes only, and `stringKeys` refuses other keys.
    const keyNode = pair.key as Node;
    const valueNode = pair.value as Node | null;
    const key = isScalar(keyNode) ? String(keyNode.value) : "";
    const childPath = [...path, key];
    const keyOffset = from ?? keyNode.range?.[0] ?? 0;
    // An absent value has its range behind the key; the key is the better place to point at.
    const empty = valueNode === null || (isScalar(valueNode) && valueNode.source === "");
    const valueOffset = from ?? (empty ? keyOffset : (valueNode?.range?.[0] ?? keyOffset));
    walk.places.set(pathKey(childPath), { key: keyOffset, value: valueOffset });
    object[key] = toValue(walk, valueNode, { path: childPath, depth: depth + 1, from });
  }
  return object;
}
