/**
 * Values that the host must see beside the record: those it groups, whom they are about, and what must differ.
 *
 * An observed field has a slot. While a record is read, the text of its value is noted there; a clustered value leaves a
 * hole in the written record, whose place is noted too. After the batch the notes become a third column, one row for each
 * record that passed. Must not decide anything: what becomes of the values is the host's.
 */
import { READABLE_AFTER } from "./abi";
import { allocate } from "./arena";
import { FIELD_SLOT } from "./fields";

/** A note while the batch runs: text, bytes, place in the record, type. */
const NOTE_BYTES: usize = 16;
/** A note in the column: place, type, bytes; the texts follow all notes. */
const HEAD_BYTES: usize = 12;

/** Observed fields; 0: there is no third column. */
export let slotCount: usize = 0;

let notes: usize = 0;
/** Notes of the record being read. */
let current: usize = 0;
let columnStart: usize = 0;
let columnEnd: usize = 0;
let columnOffsets: usize = 0;

/** Gives a field the next slot. */
export function addSlot(field: usize): void {
  store<u32>(field, <u32>++slotCount, FIELD_SLOT);
}

/** Takes room for the notes of a batch; false when memory is at its maximum. */
export function prepareNotes(rows: usize): bool {
  if (!slotCount) return true;
  const bytes = <u64>(rows + 1) * slotCount * NOTE_BYTES;
  notes = bytes > 0x7fffffff ? 0 : allocate(<usize>bytes, 16);
  return bool(notes);
}

/** Begins the notes of the next record; `row` counts those that passed. */
export function startNotes(row: usize): void {
  current = notes + row * slotCount * NOTE_BYTES;
  memory.fill(current, 0, slotCount * NOTE_BYTES);
}

/** Notes the decoded text of a field's value; it stays where it is until the batch ends. */
export function observe(field: usize, start: usize, end: usize, type: u32): void {
  const slot = <usize>load<u32>(field, FIELD_SLOT);
  if (!slot) return;
  const note = current + (slot - 1) * NOTE_BYTES;
  store<u32>(note, <u32>start);
  store<u32>(note, <u32>(end - start), 4);
  store<u32>(note, type, 12);
}

/** Notes where in its record a clustered value is to stand. */
export function placeHole(field: usize, place: usize): void {
  const slot = <usize>load<u32>(field, FIELD_SLOT);
  store<u32>(current + (slot - 1) * NOTE_BYTES, <u32>place, 8);
}

/** Makes the column of the notes of the first `rows` records; false when memory is at its maximum. */
export function gatherNotes(rows: usize): bool {
  const count = rows * slotCount;
  let texts: u64 = 0;
  for (let i: usize = 0; i < count; i++) texts += load<u32>(notes + i * NOTE_BYTES, 4);
  const bytes = texts + <u64>count * HEAD_BYTES + READABLE_AFTER;
  if (bytes > 0x7fffffff) return false;
  columnOffsets = allocate((rows + 1) << 2, 16);
  columnStart = allocate(<usize>bytes, 16);
  if (!columnOffsets || !columnStart) return false;
  columnEnd = columnStart;
  for (let row: usize = 0; row < rows; row++) {
    store<u32>(columnOffsets + (row << 2), <u32>(columnEnd - columnStart));
    writeNotes(notes + row * slotCount * NOTE_BYTES);
  }
  store<u32>(columnOffsets + (rows << 2), <u32>(columnEnd - columnStart));
  return true;
}

function writeNotes(first: usize): void {
  let text = columnEnd + slotCount * HEAD_BYTES;
  for (let slot: usize = 0; slot < slotCount; slot++) {
    const note = first + slot * NOTE_BYTES;
    const head = columnEnd + slot * HEAD_BYTES;
    const bytes = load<u32>(note, 4);
    store<u32>(head, load<u32>(note, 8));
    store<u32>(head, load<u32>(note, 12), 4);
    store<u32>(head, bytes, 8);
    memory.copy(text, load<u32>(note), bytes);
    text += bytes;
  }
  columnEnd = text;
}

/** The column that gatherNotes() made. */
export function notesOffsets(): usize {
  return columnOffsets;
}

export function notesStart(): usize {
  return columnStart;
}

export function notesBytes(): usize {
  return columnEnd - columnStart;
}
