/**
 * Lays integer rows out for the kernels: blocks of up to four rows that read the same columns.
 *
 * The kernel's speed comes from four rows sharing what they load (assembly/multiply-accumulate.ts). All rows of a dense
 * layer read the same columns, and so do the filters of a convolution at one place. Written into kernel memory once for a
 * program; where rows go and their biases are filled in for every polynomial and prime.
 */
import type { Ring } from "../ring.ts";
import type { AffineOp } from "./program.ts";

const ROWS = 4;
/** u32 words of a block's description, and of it the addresses before the rows'. */
const BLOCK_WORDS = 8;
const ROWS_AT = 4;
/** Bytes of an input in one pair of a tile. */
export const ENTRY_BYTES = 32;
/** Halves of a bias, as residues are split. */
const HALF = 2 ** 25;

interface Group {
  readonly columns: Uint32Array;
  readonly rows: number[];
}

/** An affine operation in kernel memory. */
export interface LaidRows {
  readonly at: number;
  readonly count: number;
  /**
   * Says where rows go and what is added to them.
   * @param outputs [rows] address of each row's limb
   * @param biases [rows] residue of each row's bias, |b| <= q / 2; null: none
   */
  aim(outputs: Uint32Array, biases: Float64Array | null): void;
}

function sameColumns(left: Uint32Array, right: Uint32Array): boolean {
  return left.length === right.length && left.every((column, at) => column === right[at]);
}

function fold(columns: Uint32Array): number {
  return columns.reduce((hash, column) => Math.imul(hash ^ column, 0x01000193), columns.length);
}

/** Groups of at most four rows with the same columns; those of one row of each group come in the order of the rows. */
export function groupRows({ rowStarts, columns }: AffineOp): Group[] {
  const groups: Group[] = [];
  const open = new Map<number, Group>();
  for (let row = 0; row + 1 < rowStarts.length; row += 1) {
    const own = columns.subarray(rowStarts[row], rowStarts[row + 1]);
    const hash = fold(own);
    const known = open.get(hash);
    if (known !== undefined && known.rows.length < ROWS && sameColumns(known.columns, own)) {
      known.rows.push(row);
      continue;
    }
    const made = { columns: own, rows: [row] };
    groups.push(made);
    open.set(hash, made);
  }
  return groups;
}

/** Writes an operation's rows into memory that stays taken. */
export function layRows(ring: Ring, op: AffineOp): LaidRows {
  const groups = groupRows(op);
  const at = ring.take(groups.length * BLOCK_WORDS * 4);
  const biasesAt = ring.take(groups.length * ROWS * 2 * 8);
  for (const [index, group] of groups.entries()) {
    const width = group.columns.length;
    const columnsAt = ring.take(width * 4);
    const weightsAt = ring.take(width * ROWS * 8);
    ring.words(columnsAt, width).set(group.columns.map((column) => column * ENTRY_BYTES));
    const weights = ring.floats(weightsAt, width * ROWS).fill(0);
    for (const [place, row] of group.rows.entries()) {
      const from = op.rowStarts[row] ?? 0;
      for (let column = 0; column < width; column += 1) {
        weights[column * ROWS + place] = op.weights[from + column] ?? 0;
      }
    }
    const block = ring.words(at + index * BLOCK_WORDS * 4, BLOCK_WORDS);
    block.set([width, columnsAt, weightsAt, biasesAt + index * ROWS * 2 * 8]);
  }
  return {
    at,
    count: groups.length,
    aim(outputs, biases) {
      const words = ring.words(at, groups.length * BLOCK_WORDS);
      const halves = ring.floats(biasesAt, groups.length * ROWS * 2).fill(0);
      for (const [index, { rows }] of groups.entries()) {
        for (let place = 0; place < ROWS; place += 1) {
          const row = rows[place];
          words[index * BLOCK_WORDS + ROWS_AT + place] =
            row === undefined ? 0 : (outputs[row] ?? 0);
          const bias = row === undefined || biases === null ? 0 : (biases[row] ?? 0);
          const high = Math.round(bias / HALF);
          halves[(index * ROWS + place) * 2] = high;
          halves[(index * ROWS + place) * 2 + 1] = bias - high * HALF;
        }
      }
    },
  };
}
