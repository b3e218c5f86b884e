/**
 * Reads the patterns of free-text detectors: the part of JavaScript's regular expressions that is regular.
 *
 * Literals, `.`, classes, groups, alternation, `?`, `*`, `+` and counts are read with the meaning that they have under
 * JavaScript's `u` flag (ECMA-262 section 22.2). Everything else, backreferences, lookaround and lazy quantifiers among
 * it, is refused with a sentence: what is accepted has a finite automaton, so no text can make it slow. `^`, `$` and `\b`
 * are accepted at the edges only and add nothing, since a detection is bounded by word boundaries anyway.
 */
import { SealstreamError } from "../../errors.ts";

/** Code points from..to, both included. */
export type CodeRange = readonly [from: number, to: number];

export type PatternNode =
  | { readonly kind: "set"; readonly ranges: readonly CodeRange[] }
  | { readonly kind: "sequence"; readonly parts: readonly PatternNode[] }
  | { readonly kind: "choice"; readonly options: readonly PatternNode[] }
  | {
      readonly kind: "repeat";
      readonly of: PatternNode;
      readonly min: number;
      /** `null`: without end. */
      readonly max: number | null;
    };

/** Longest pattern, in characters: a person cannot read a longer one. */
export const PATTERN_MAX_CHARACTERS = 2000;
/** Highest count in braces; each is a copy in the automaton. */
export const COUNT_MAX = 256;
/** Deepest nesting of groups: the reader recurses. */
const DEPTH_MAX = 50;
const LAST_CODE_POINT = 0x10ffff;

const DIGIT: readonly CodeRange[] = [[0x30, 0x39]];
const WORD: readonly CodeRange[] = [
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
];
/** WhiteSpace and LineTerminator of ECMA-262 section 12. */
const SPACE: readonly CodeRange[] = [
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
const LINE_ENDS: readonly CodeRange[] = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
];
const CONTROL_ESCAPES: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13 };
/** What `\` may stand before to mean the character itself under the `u` flag, and `-` in a class. */
const SYNTAX_CHARACTERS = "^$\\.*+?()[]{}|/-";

/** Sorted, without overlaps or neighbours. */
function normalise(ranges: readonly CodeRange[]): CodeRange[] {
  const merged: [number, number][] = [];
  for (const [from, to] of ranges.toSorted((a, b) => a[0] - b[0])) {
    const last = merged.at(-1);
    if (last !== undefined && from <= last[1] + 1) last[1] = Math.max(last[1], to);
    else merged.push([from, to]);
  }
  return merged;
}

/** Every code point that is not in `ranges`. */
function complement(ranges: readonly CodeRange[]): CodeRange[] {
  const rest: CodeRange[] = [];
  let next = 0;
  for (const [from, to] of normalise(ranges)) {
    if (from > next) rest.push([next, from - 1]);
    next = to + 1;
  }
  if (next <= LAST_CODE_POINT) rest.push([next, LAST_CODE_POINT]);
  return rest;
}

/** The other case of ASCII letters added; other letters are left as they are. */
function bothCases(ranges: readonly CodeRange[]): CodeRange[] {
  const added: CodeRange[] = [];
  const shift = (low: number, high: number, by: number) => {
    for (const [from, to] of ranges) {
      const start = Math.max(from, low);
      const end = Math.min(to, high);
      if (start <= end) added.push([start + by, end + by]);
    }
  };
  shift(0x41, 0x5a, 32);
  shift(0x61, 0x7a, -32);
  return normalise([...ranges, ...added]);
}

/** Reads one pattern from left to right. Built anew for each pattern; holds the place. */
class Reader {
  readonly #characters: readonly string[];
  readonly #name: string;
  readonly #ignoreCase: boolean;
  #at = 0;
  #depth = 0;

  constructor(name: string, source: string, ignoreCase: boolean) {
    this.#characters = [...source];
    this.#name = name;
    this.#ignoreCase = ignoreCase;
  }

  read(): PatternNode {
    this.#takeEdge("^");
    const node = this.#choice();
    if (this.#at < this.#characters.length) throw this.#refuse("has a ) without its (");
    return node;
  }

  #refuse(what: string): SealstreamError {
    return new SealstreamError(
      "spec-invalid",
      `the pattern of detector ${this.#name} ${what}, at character ${this.#at + 1}`,
    );
  }

  #peek(ahead = 0): string | undefined {
    return this.#characters[this.#at + ahead];
  }

  #take(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.#at++;
    return true;
  }

  /** `^` or `$`, or `\b`, where word boundaries are implied. */
  #takeEdge(sign: "^" | "$"): void {
    if (this.#take(sign)) return;
    if (this.#peek() === "\\" && this.#peek(1) === "b") this.#at += 2;
  }

  #choice(): PatternNode {
    if (++this.#depth > DEPTH_MAX) throw this.#refuse(`nests groups over ${DEPTH_MAX} deep`);
    const options = [this.#sequence()];
    while (this.#take("|")) options.push(this.#sequence());
    this.#depth--;
    return options.length === 1 && options[0] !== undefined
      ? options[0]
      : { kind: "choice", options };
  }

  #sequence(): PatternNode {
    const parts: PatternNode[] = [];
    for (;;) {
      const next = this.#peek();
      if (next === undefined || next === "|" || next === ")") break;
      if (this.#isLastEdge()) {
        this.#takeEdge("$");
        break;
      }
      parts.push(this.#quantified());
    }
    return { kind: "sequence", parts };
  }

  #isLastEdge(): boolean {
    const left = this.#characters.length - this.#at;
    if (left === 1) return this.#peek() === "$";
    return left === 2 && this.#peek() === "\\" && this.#peek(1) === "b";
  }

  #quantified(): PatternNode {
    const of = this.#atom();
    const counts = this.#quantifier();
    if (counts === null) return of;
    const next = this.#peek();
    if (next === "?") throw this.#refuse("has a lazy quantifier: the longest match always counts");
    if (next === "*" || next === "+" || next === "{")
      throw this.#refuse("repeats a repetition: put it into a group");
    return { kind: "repeat", of, ...counts };
  }

  #quantifier(): { min: number; max: number | null } | null {
    if (this.#take("?")) return { min: 0, max: 1 };
    if (this.#take("*")) return { min: 0, max: null };
    if (this.#take("+")) return { min: 1, max: null };
    if (!this.#take("{")) return null;
    const min = this.#count();
    let max: number | null = min;
    if (this.#take(",")) max = this.#peek() === "}" ? null : this.#count();
    if (!this.#take("}")) throw this.#refuse("has a count in braces that is none");
    if (max !== null && max < min) throw this.#refuse("has a count that ends before it starts");
    return { min, max };
  }

  #count(): number {
    let digits = "";
    while (/^[0-9]$/.test(this.#peek() ?? "")) {
      digits += this.#peek();
      this.#at++;
    }
    const count = Number(digits);
    if (digits === "") throw this.#refuse("has a { without a count: write \\{ for the character");
    if (count > COUNT_MAX) throw this.#refuse(`counts above ${COUNT_MAX}`);
    return count;
  }

  #atom(): PatternNode {
    const character = this.#peek() ?? "";
    if ("*+?{".includes(character)) throw this.#refuse("repeats nothing");
    if ("]}".includes(character))
      throw this.#refuse(`has a ${character} without its partner: write \\${character}`);
    if (character === "^" || character === "$") {
      throw this.#refuse(`has a ${character} in the middle: it may stand at the edges only`);
    }
    this.#at++;
    if (character === "(") return this.#group();
    if (character === "[") return this.#set(this.#class());
    if (character === ".") return { kind: "set", ranges: complement(LINE_ENDS) };
    if (character === "\\") return this.#set(this.#escape(false));
    return this.#set([this.#single(character)]);
  }

  #single(character: string): CodeRange {
    const code = character.codePointAt(0) ?? 0;
    if (code >= 0xd800 && code <= 0xdfff) throw this.#refuse("has half a character");
    return [code, code];
  }

  #set(ranges: readonly CodeRange[]): PatternNode {
    return { kind: "set", ranges: this.#ignoreCase ? bothCases(ranges) : normalise(ranges) };
  }

  #group(): PatternNode {
    if (this.#take("?") && !this.#take(":")) {
      throw this.#refuse("has a group that starts with (? and is not (?:");
    }
    const node = this.#choice();
    if (!this.#take(")")) throw this.#refuse("has a ( without its )");
    return node;
  }

  /** The ranges of an escape whose backslash is read. */
  #escape(inClass: boolean): readonly CodeRange[] {
    const letter = this.#peek();
    if (letter === undefined) throw this.#refuse("ends with a backslash");
    this.#at++;
    const named = { d: DIGIT, w: WORD, s: SPACE }[letter.toLowerCase()];
    if (named !== undefined) return letter === letter.toLowerCase() ? named : complement(named);
    const control = CONTROL_ESCAPES[letter];
    if (control !== undefined) return [[control, control]];
    if (letter === "x") return this.#hex(2);
    if (letter === "u") return this.#take("{") ? this.#hexInBraces() : this.#hex(4);
    if (SYNTAX_CHARACTERS.includes(letter)) return [this.#single(letter)];
    this.#at--;
    if (/^[1-9k]$/.test(letter)) throw this.#refuse("has a backreference: no automaton has one");
    if (letter === "b" || letter === "B")
      throw this.#refuse(
        inClass
          ? "has \\b in a class"
          : `has \\${letter} in the middle: \\b may stand at the edges only`,
      );
    throw this.#refuse(`has the escape \\${letter}, which is not known`);
  }

  #hex(digits: number): readonly CodeRange[] {
    const text = this.#characters.slice(this.#at, this.#at + digits).join("");
    if (!/^[0-9a-fA-F]+$/.test(text) || text.length !== digits)
      throw this.#refuse(`has an escape that needs ${digits} hexadecimal digits`);
    this.#at += digits;
    return [this.#single(String.fromCodePoint(Number.parseInt(text, 16)))];
  }

  #hexInBraces(): readonly CodeRange[] {
    let text = "";
    while (this.#peek() !== "}" && this.#at < this.#characters.length) {
      text += this.#peek();
      this.#at++;
    }
    const code = Number.parseInt(text, 16);
    if (!/^[0-9a-fA-F]{1,6}$/.test(text) || code > LAST_CODE_POINT || !this.#take("}"))
      throw this.#refuse("has a \\u{...} that is no code point");
    return [this.#single(String.fromCodePoint(code))];
  }

  /** A class whose bracket is read. */
  #class(): readonly CodeRange[] {
    const negated = this.#take("^");
    const ranges: CodeRange[] = [];
    while (!this.#take("]")) {
      const from = this.#classMember();
      if (this.#peek() !== "-" || this.#peek(1) === "]") {
        ranges.push(...from);
        continue;
      }
      this.#at++;
      const to = this.#classMember();
      const start = singleOf(from);
      const end = singleOf(to);
      if (start === null || end === null || start > end)
        throw this.#refuse("has a range in a class that is none");
      ranges.push([start, end]);
    }
    if (ranges.length === 0 && !negated) throw this.#refuse("has an empty class");
    if (!negated) return ranges;
    return complement(this.#ignoreCase ? bothCases(ranges) : ranges);
  }

  #classMember(): readonly CodeRange[] {
    const character = this.#peek();
    if (character === undefined) throw this.#refuse("has a [ without its ]");
    this.#at++;
    return character === "\\" ? this.#escape(true) : [this.#single(character)];
  }
}

/** The one code point of ranges, or `null` when there are more. */
function singleOf(ranges: readonly CodeRange[]): number | null {
  const [only] = ranges;
  return ranges.length === 1 && only !== undefined && only[0] === only[1] ? only[0] : null;
}

/**
 * Reads a pattern.
 * @param name of the detector, for the sentence of a refusal
 * @throws spec-invalid
 */
export function readPattern(name: string, source: string, ignoreCase = false): PatternNode {
  if (source.length > PATTERN_MAX_CHARACTERS) {
    throw new SealstreamError(
      "spec-invalid",
      `the pattern of detector ${name} has over ${PATTERN_MAX_CHARACTERS} characters`,
    );
  }
  return new Reader(name, source, ignoreCase).read();
}
