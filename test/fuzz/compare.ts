/**
 * Holds what the plugin made of a document against what the model says.
 */
import type { Answer, Document } from "./guests.ts";
import { positionOf } from "./guests.ts";
import { expectedOf, type Leaving, type Model, type Note } from "./model.ts";
import { isRounded } from "./noise-reference.ts";
import { UNSURE } from "./techniques.ts";

const NUMBER = /-?[0-9.]+/y;

/** Whether a text is the expected one, with a rounded sum for each NUL. */
function isExpected(text: string, { value, numbers }: Leaving): boolean {
  if (numbers.length === 0) return text === value;
  let at = 0;
  const parts = value.split("\0");
  return (
    parts.every((part, i) => {
      if (!text.startsWith(part, at)) return false;
      at += part.length;
      const number = numbers[i];
      if (number === undefined) return true;
      NUMBER.lastIndex = at;
      const [written = ""] = NUMBER.exec(text) ?? [];
      at += written.length;
      return isRounded(written, number.sum, number.decimals);
    }) && at === text.length
  );
}

/** Notes with their places; behind a number of noise the model's places are some signs off, and only order is known. */
function areNotes(notes: readonly Note[] | null, { notes: wanted, numbers }: Leaving): boolean {
  if (notes === null || notes.length !== wanted.length) return false;
  return notes.every(({ place, type, text }, i) => {
    const other = wanted[i];
    if (other === undefined || type !== other.type || text !== other.text) return false;
    return place === other.place || (numbers.length > 0 && place > 0 === other.place > 0);
  });
}

/** What is wrong with an answer, or null; and the status that it was. */
export function problemOf(
  model: Model,
  document: Document,
  row: number,
  answer: Answer,
): { readonly problem: string | null; readonly status: string } {
  const expected = expectedOf(model, document, positionOf(row));
  const said = typeof answer === "string" ? answer : "ok";
  if (expected === UNSURE) return { problem: null, status: "unsure" };
  if (typeof expected === "string" || typeof answer === "string") {
    const wanted = typeof expected === "string" ? expected : "ok";
    const problem = wanted === said ? null : `must be ${wanted}, is ${said}`;
    return { problem, status: said };
  }
  const say = (what: string, is: unknown, must: unknown): string =>
    `${what} is\n  ${JSON.stringify(is)}\nand must be\n  ${JSON.stringify(must)}`;
  const key = answer.key.toString();
  if (key !== expected.key) return { problem: say("the key", key, expected.key), status: said };
  const value = answer.value.toString();
  if (!isExpected(value, expected)) {
    return { problem: say("the record", value, expected.value), status: said };
  }
  if (!areNotes(answer.notes, expected)) {
    return { problem: say("what is observed", answer.notes, expected.notes), status: said };
  }
  return { problem: null, status: said };
}
