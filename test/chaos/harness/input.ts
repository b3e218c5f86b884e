/**
 * What the chaos run feeds: the digits forms in a small shape, and what must be refused on the way.
 *
 * The form id begins with what must become of the record, so that `raw` itself, read afterwards, says what is expected.
 * The raw key is the form id too, so that no reader needs the values. Pixels are the means of the image's rows: 8 ciphertexts a pack instead of 64, which two cores can bear.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { digitRecords } from "../../../examples/digits/records.ts";
import type { Random } from "./random.ts";

const DIGITS = join(import.meta.dirname, "../../../examples/digits");
const ROW = 8;

/** `example`: labelled. `pack`: to predict. `odd`: passes desensitize, refused by encrypt. */
const KINDS = { l: "example", u: "pack", x: "odd" } as const;
export type InputKind = (typeof KINDS)[keyof typeof KINDS];

/** What an id says must become of its record; null for an id that was not fed. */
export function kindOf(id: string): InputKind | null {
  const letter = /^([lux])-\d{7}$/.exec(id)?.[1];
  // Because the pattern above holds exactly the letters of KINDS.
  return letter === undefined ? null : KINDS[letter as keyof typeof KINDS];
}

export interface InputRecord {
  /** Null for garbage, which has none. */
  readonly id: string | null;
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
}

export interface InputShares {
  readonly unlabelled: number;
  readonly odd: number;
  readonly garbage: number;
}

/** Endless records, the same for the same random numbers. */
export function createInput(random: Random, shares: InputShares): () => InputRecord {
  const forms = digitRecords({
    csvGz: readFileSync(join(DIGITS, "digits_8x8.csv.gz")),
    seed: 7,
  }).map(({ form, truth }) => {
    const { digit: _, pixels, ...person } = form;
    const rows = Array.from({ length: ROW }, (_unused, row) =>
      Math.round(pixels.slice(row * ROW, row * ROW + ROW).reduce((sum, p) => sum + p, 0) / ROW),
    );
    return { ...person, pixels: rows, truth };
  });
  const garbage: (Uint8Array | null)[] = [
    null,
    Buffer.from(""),
    Buffer.from("not json \t\n\\x00"),
    Buffer.from([0, 0, 0, 0]),
    Buffer.from('{"formId":"l-9999999","surprise":1}'),
    Buffer.from('{"formId":7}'),
  ];
  let number = 0;
  return () => {
    const draw = random.next();
    if (draw < shares.garbage) {
      return { id: null, key: null, value: random.pick(garbage) };
    }
    number += 1;
    const { truth, ...form } = random.pick(forms);
    const isOdd = draw < shares.garbage + shares.odd;
    const isPack = !isOdd && draw < shares.garbage + shares.odd + shares.unlabelled;
    const letter = isOdd ? "x" : isPack ? "u" : "l";
    const id = `${letter}-${String(number).padStart(7, "0")}`;
    // The network knows classes 0..9; the record schema of this pipeline lets more through.
    const label = isPack ? {} : { digit: isOdd ? 99 : truth };
    const whole = { ...form, formId: id, email: `${number}.${form.email}`, ...label };
    return { id, key: Buffer.from(id), value: Buffer.from(JSON.stringify(whole)) };
  };
}
