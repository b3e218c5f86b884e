/**
 * Lists and tables of texts for the desensitize plugin: words that say where each text lies, then the texts.
 *
 * Places count from the first byte of the table. The same text is written once.
 */
import { createWriter } from "./config-bytes.ts";

const utf8 = new TextEncoder();

interface Place {
  readonly offset: number;
  readonly length: number;
}

/** Gathers texts that follow after `headBytes` bytes. */
function createTexts(headBytes: number) {
  const parts: Uint8Array[] = [];
  const places = new Map<string, Place>();
  let end = headBytes;
  return {
    parts,
    place(text: string): [number, number] {
      const known = places.get(text);
      if (known !== undefined) return [known.offset, known.length];
      const bytes = utf8.encode(text);
      const place = { offset: end, length: bytes.length };
      parts.push(bytes);
      places.set(text, place);
      end += bytes.length;
      return [place.offset, place.length];
    },
  };
}

/** Little-endian i64 as two words. */
function wide(value: number): [number, number] {
  const all = BigInt.asUintN(64, BigInt(value));
  return [Number(all & 0xffffffffn), Number(all >> 32n)];
}

function tableOf(words: readonly number[], parts: readonly Uint8Array[]): Uint8Array {
  const writer = createWriter();
  writer.words(...words);
  for (const part of parts) writer.bytes(part);
  return writer.finish();
}

/** A list to pick from. */
export function encodeList(list: readonly string[]): Uint8Array {
  const texts = createTexts(4 + list.length * 8);
  const words = [list.length, ...list.flatMap((text) => texts.place(text))];
  return tableOf(words, texts.parts);
}

/** Bounds in rising order and the names of the ranges around them, one more. */
export function encodeBounds(bounds: readonly number[], names: readonly string[]): Uint8Array {
  const texts = createTexts(8 + bounds.length * 8 + names.length * 8);
  const words = [
    bounds.length,
    0,
    ...bounds.flatMap(wide),
    ...names.flatMap((name) => texts.place(name)),
  ];
  return tableOf(words, texts.parts);
}

/** What values become; `fallback` is what all others become, null: they are refused. */
export function encodeTable(
  rows: readonly (readonly [value: string, becomes: string])[],
  fallback: string | null,
): Uint8Array {
  const texts = createTexts(8 + rows.length * 16 + 8);
  const sorted = rows
    .map(([value, becomes]) => ({ bytes: Buffer.from(value), value, becomes }))
    .sort((a, b) => Buffer.compare(a.bytes, b.bytes));
  const words = [fallback === null ? 0 : 1, rows.length];
  for (const { value, becomes } of sorted)
    words.push(...texts.place(value), ...texts.place(becomes));
  words.push(...texts.place(fallback ?? ""));
  return tableOf(words, texts.parts);
}

/** A width as the plugin reads it. */
export function encodeWidth(width: number): Uint8Array {
  return tableOf(wide(width), []);
}
