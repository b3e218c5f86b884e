/**
 * Rewrites a program so that a wide layer is never in memory as a whole: group by group it is computed, raised to its
 * powers, and added to the sums of the layer behind it.
 *
 * A pair of affine operations A, B can be taken apart where everything between them belongs to one row of A each
 * (activations do) and nothing else reads it. The rows of A are cut into groups; for each group come A's rows, their
 * powers, and the part of B that reads them. A row of B starts with its first part, bias included, and every later part
 * reads the sum so far as one more input of weight 1: the kernel's bound on a row of weights has room for it, because
 * later parts have no bias. Sums modulo primes do not depend on their order, so that results are the same bit for bit.
 * A is read from the wire once more for every group that shares a feature: time for memory, so programs that fit stay
 * as they are.
 */
import { placeCiphertexts } from "./placement.ts";
import type { AffineOp, BatchOp } from "./program.ts";

/** Groups that are tried, the fewest first. */
const GROUPS = [2, 3, 4, 6, 8, 12, 16, 24, 32] as const;
/** Rows of a group are a multiple of this: the kernel takes four rows at a time. */
const ROWS = 4;

export interface TileRequest {
  readonly ops: readonly BatchOp[];
  /** By ciphertext, in limbs. */
  readonly sizes: Uint32Array;
  /** Ciphertexts that are read after the last operation. */
  readonly kept: ReadonlySet<number>;
  /** Working memory that is wanted, in limbs. */
  readonly mostLimbs: number;
}

/** The program, taken apart as far as its memory asks for: the fewest groups that fit, else those that take least. */
export function tileProgram({ ops, sizes, kept, mostLimbs }: TileRequest): readonly BatchOp[] {
  let best = ops;
  let least = placeCiphertexts(ops, sizes, kept).limbs;
  if (least <= mostLimbs) return ops;
  const pairs = findPairs(ops, sizes, kept);
  for (const groups of pairs.length === 0 ? [] : GROUPS) {
    const tiled = takeApart(ops, pairs, groups);
    const { limbs } = placeCiphertexts(tiled, sizes, kept);
    if (limbs < least) [best, least] = [tiled, limbs];
    if (least <= mostLimbs) break;
  }
  return best;
}

/** Two affine operations and what lies between them. */
interface Pair {
  readonly first: AffineOp;
  readonly second: AffineOp;
  /** Operations between, in order. */
  readonly between: readonly Exclude<BatchOp, AffineOp>[];
  /** Row of `first` that a ciphertext was made from: its rows and everything between. */
  readonly rowOf: ReadonlyMap<number, number>;
}

function readBy(op: BatchOp): Iterable<number> {
  if (op.kind === "affine") return op.fromWire ? [] : op.inputs;
  if (op.kind === "product") return [op.left, op.right];
  return op.kind === "finish" ? [op.input] : [];
}

/** Pairs that can be taken apart and have no operation in common, those with most memory between first. */
function findPairs(
  ops: readonly BatchOp[],
  sizes: Uint32Array,
  kept: ReadonlySet<number>,
): readonly Pair[] {
  const maker = new Map<number, BatchOp>();
  const readers = new Map<number, Set<BatchOp>>();
  for (const op of ops) {
    for (const id of op.kind === "affine" ? op.outputs : [op.output]) maker.set(id, op);
    for (const id of readBy(op)) readers.set(id, (readers.get(id) ?? new Set()).add(op));
  }
  const found = ops
    .flatMap((op) => (op.kind === "affine" && !op.fromWire ? [op] : []))
    .flatMap((op) => pairBefore(op, maker) ?? [])
    .filter((pair) => isClosed(pair, readers, kept));
  const weight = ({ rowOf }: Pair): number =>
    [...rowOf.keys()].reduce((sum, id) => sum + (sizes[id] ?? 0), 0);
  const taken = new Set<BatchOp>();
  return found
    .sort((a, b) => weight(b) - weight(a))
    .filter(({ first, second }) => {
      if (taken.has(first) || taken.has(second)) return false;
      taken.add(first).add(second);
      return true;
    });
}

/** What `second` reads, back to one affine operation; null where that is none or several, or rows meet before. */
function pairBefore(second: AffineOp, maker: ReadonlyMap<number, BatchOp>): Pair | null {
  const rowOf = new Map<number, number>();
  const between = new Set<Exclude<BatchOp, AffineOp>>();
  const firsts = new Set<AffineOp>();
  /** The row behind a ciphertext, or -1. */
  const trace = (id: number): number => {
    const known = rowOf.get(id);
    if (known !== undefined) return known;
    const op = maker.get(id);
    if (op === undefined || op.kind === "unpack") return -1;
    if (op.kind === "affine") {
      const row = op.outputs.indexOf(id);
      firsts.add(op);
      rowOf.set(id, row);
      return row;
    }
    const rows = new Set([...readBy(op)].map(trace));
    const [row = -1] = rows;
    if (rows.size !== 1 || row < 0) return -1;
    rowOf.set(id, row);
    // After what it reads: in an order in which they can run.
    between.add(op);
    return row;
  };
  const isOne = [...second.inputs].every((id) => trace(id) >= 0);
  const [first] = firsts;
  if (!isOne || first === undefined || firsts.size > 1) return null;
  return { first, second, between: [...between], rowOf };
}

/** Whether nothing but the pair reads what lies between, and every row of the first is there. */
function isClosed(
  { first, second, between, rowOf }: Pair,
  readers: ReadonlyMap<number, ReadonlySet<BatchOp>>,
  kept: ReadonlySet<number>,
): boolean {
  const own = new Set<BatchOp>([...between, second]);
  const isOwn = (id: number): boolean =>
    !kept.has(id) && [...(readers.get(id) ?? [])].every((op) => own.has(op));
  return first.outputs.every((id) => rowOf.has(id)) && [...rowOf.keys()].every(isOwn);
}

function takeApart(
  ops: readonly BatchOp[],
  pairs: readonly Pair[],
  groups: number,
): readonly BatchOp[] {
  const bySecond = new Map<BatchOp, Pair>(pairs.map((pair) => [pair.second, pair]));
  const moved = new Set<BatchOp>(pairs.flatMap(({ first, between }) => [first, ...between]));
  return ops.flatMap((op) => {
    if (moved.has(op)) return [];
    const pair = bySecond.get(op);
    return pair === undefined ? [op] : runInGroups(pair, groups);
  });
}

function runInGroups({ first, second, between, rowOf }: Pair, groups: number): BatchOp[] {
  const rows = first.outputs.length;
  const size = Math.max(ROWS, ROWS * Math.ceil(rows / groups / ROWS));
  const ops: BatchOp[] = [];
  const started = new Set<number>();
  for (let from = 0; from < rows; from += size) {
    const isOurs = (id: number): boolean => {
      const row = rowOf.get(id) ?? -1;
      return row >= from && row < from + size;
    };
    ops.push(someRows(first, from, Math.min(rows, from + size)));
    ops.push(...between.filter((op) => isOurs(op.output)));
    const part = someColumns(second, isOurs, started);
    if (part !== null) ops.push(part);
  }
  return ops;
}

/** Some rows of an operation, with only the inputs that they read. */
function someRows(op: AffineOp, from: number, to: number): AffineOp {
  const [start, end] = [op.rowStarts[from] ?? 0, op.rowStarts[to] ?? 0];
  const columns = op.columns.subarray(start, end);
  const read = Uint32Array.from(new Set(columns)).sort();
  const places = new Map(Array.from(read, (column, place) => [column, place]));
  return {
    ...op,
    inputs: read.map((column) => op.inputs[column] ?? 0),
    rowStarts: op.rowStarts.slice(from, to + 1).map((at) => at - start),
    columns: columns.map((column) => places.get(column) ?? 0),
    weights: op.weights.slice(start, end),
    biases: op.biases.slice(from, to),
    outputs: op.outputs.slice(from, to),
  };
}

/**
 * The part of an operation that reads some of its inputs, added to the sums so far; null when no row does.
 * @param started rows that have a sum; those of this part are added to them
 */
function someColumns(
  op: AffineOp,
  isOurs: (id: number) => boolean,
  started: Set<number>,
): AffineOp | null {
  const entries = Array.from(op.outputs, (_, row) => entriesOf(op, row, isOurs));
  const rows = [...entries.keys()].filter((row) => (entries[row] ?? []).length > 0);
  if (rows.length === 0) return null;
  const inputOf = (at: number): number => op.inputs[op.columns[at] ?? 0] ?? 0;
  const read = new Set(rows.flatMap((row) => entries[row] ?? []).map(inputOf));
  const sums = rows.filter((row) => started.has(row)).map((row) => op.outputs[row] ?? 0);
  const inputs = [...[...read].sort((a, b) => a - b), ...sums];
  const places = new Map(inputs.map((id, place) => [id, place]));
  const rowStarts = [0];
  const columns: number[] = [];
  const weights: number[] = [];
  for (const [index, row] of rows.entries()) {
    for (const at of entries[row] ?? []) {
      columns.push(places.get(inputOf(at)) ?? 0);
      weights.push(op.weights[at] ?? 0);
    }
    // Four rows that the kernel takes at once read the same columns: the sums of all four, three of them times 0.
    const block = index - (index % ROWS);
    for (const other of rows.slice(block, block + ROWS).filter((one) => started.has(one))) {
      columns.push(places.get(op.outputs[other] ?? 0) ?? 0);
      weights.push(other === row ? 1 : 0);
    }
    rowStarts.push(columns.length);
  }
  const biases = rows.map((row) => (started.has(row) ? 0n : (op.biases[row] ?? 0n)));
  for (const row of rows) started.add(row);
  return {
    ...op,
    inputs: Uint32Array.from(inputs),
    rowStarts: Uint32Array.from(rowStarts),
    columns: Uint32Array.from(columns),
    weights: Float64Array.from(weights),
    biases,
    outputs: Uint32Array.from(rows, (row) => op.outputs[row] ?? 0),
  };
}

/** Entries of a row that read an input of ours. */
function entriesOf(op: AffineOp, row: number, isOurs: (id: number) => boolean): number[] {
  const found: number[] = [];
  const to = op.rowStarts[row + 1] ?? 0;
  for (let at = op.rowStarts[row] ?? 0; at < to; at += 1) {
    if (isOurs(op.inputs[op.columns[at] ?? 0] ?? -1)) found.push(at);
  }
  return found;
}
