/**
 * Where a scanner goes wrong: the edges of sixteen bytes, neighbours in UTF-8, overlaps, full lists, hostile texts.
 */
import { describe, expect, test } from "vitest";
import { createDetectKernel } from "../../../bench/lib/wasm-detect.ts";
import { compileDetectors } from "../../../pipeline/stages/desensitize/detect/compile.ts";
import { encodeDetectors } from "../../../pipeline/stages/desensitize/detect/encode.ts";
import { EXAMPLES, unmarked } from "./detect-examples.ts";
import { ALL, BUILDS, createDetectors, markDetections } from "./detect-guest.ts";

describe.each(BUILDS)("%s", (build) => {
  const kernel = createDetectors(build, ALL);

  test("every example at every distance from the edge of sixteen bytes, alone and between others", () => {
    const marked = Object.values(EXAMPLES).flatMap((texts) => texts.slice(0, 2));
    const expected = markDetections(kernel, marked.map(unmarked));
    for (let shift = 1; shift <= 33; shift++) {
      const before = `${"- ".repeat(shift >> 1)}${shift % 2 === 0 ? "" : "~"} `;
      const texts = marked.map((text) => `${before}${unmarked(text)}`);
      expect(markDetections(kernel, texts)).toEqual(expected.map((text) => `${before}${text}`));
    }
  });

  test("a text ends where its row ends, whatever lies behind it", () => {
    expect(
      kernel.redact(["4111 1111 1111", " 1111", "john@exam", "ple.com", "", "1.2.3.4", "5"]),
    ).toEqual(["4111 1111 1111", " 1111", "john@exam", "ple.com", "", "[IP]", "5"]);
  });

  test("neighbours in UTF-8: letters make a longer word, other scripts and signs do not", () => {
    for (const letter of ["é", "ß", "À", "ÿ", "Ā", "ω", "ж", "ӿ", "a", "_"]) {
      const text = `${letter}192.168.10.20 and 192.168.10.20${letter}`;
      expect(markDetections(kernel, [text]), letter).toEqual([text]);
    }
    for (const sign of [
      "中",
      "の",
      "한",
      "😀",
      "×",
      "÷",
      "¿",
      "«",
      "א",
      "ع",
      "،",
      "\u2003",
      "\u00a0",
      "（",
      "\u0000",
    ]) {
      const [marked] = kernel.redact([`${sign}192.168.10.20${sign}`]);
      expect(marked, sign).toBe(`${sign}[IP]${sign}`);
    }
  });

  test("bytes that are no UTF-8 are bounded too", () => {
    const text = Buffer.concat([
      Buffer.from([0xc3, 0xff, 0x80]),
      Buffer.from("10.20.30.40"),
      Buffer.from([0xc3]),
    ]);
    expect(kernel.detect([text])).toEqual([expect.objectContaining({ start: 3, end: 14 })]);
  });

  test("overlaps become one detection, named by the first, then the longest, then the first type", () => {
    const users = [
      { name: "tail", pattern: "b c d" },
      { name: "head", pattern: "a b" },
      { name: "long", pattern: "a b c" },
      { name: "same", pattern: "a b c" },
      { name: "inner", pattern: "b" },
    ];
    const guest = createDetectors(build, users);
    expect(guest.redact(["x a b c d x", "a b", "b c d", "b a b", "a a b c"])).toEqual([
      "x [LONG] x",
      "[HEAD]",
      "[TAIL]",
      "[INNER] [HEAD]",
      "a [LONG]",
    ]);
    expect(guest.detect(["x a b c d x"])).toEqual([{ row: 0, start: 2, end: 9, type: 2 }]);
  });

  test("the longest match that passes counts, and a failed check is tried again from the next byte", () => {
    const card = createDetectors(build, ["card"]);
    expect(markDetections(card, ["4111 1111 1111 1111 1234", "1234 4111 1111 1111 1111"])).toEqual([
      "«4111 1111 1111 1111» 1234",
      "1234 «4111 1111 1111 1111»",
    ]);
  });

  test("thousands of detections in one text, more than any list holds", () => {
    const guest = createDetectors(build, [
      { name: "one", pattern: "[a-z]" },
      { name: "pair", pattern: "[0-9] [0-9]" },
    ]);
    expect(guest.redact(["q ".repeat(20_000)])).toEqual(["[ONE] ".repeat(20_000)]);
    expect(guest.redact(["1 2 ".repeat(5000)])).toEqual(["[PAIR] ".repeat(5000)]);
    expect(kernel.redact(["a@b.cc 1.2.3.4 ".repeat(3000)])).toEqual(["[EMAIL] [IP] ".repeat(3000)]);
  });

  test("masks put one character for each, however many bytes it has", () => {
    const stars = createDetectors(build, ["email"], { kind: "mask", with: "•" });
    expect(stars.redact(["é a@b.cc jürgen@bücher.example"])).toEqual([
      "é •••••• •••••••••••••••••••••",
    ]);
  });

  test("hostile texts take no longer than their length allows", () => {
    const guest = createDetectors(build, [
      ...ALL,
      { name: "evil", pattern: "(?:a|aa|aaa)*(?: (?:a|aa)*)*!" },
      { name: "spaces", pattern: "(?:[a-z] )+[0-9]" },
      { name: "inside", pattern: "(?:ab )*a|(?:a b)*a " },
    ]);
    const pieces = [
      "a",
      "a ",
      "1",
      "1 ",
      "a.",
      "a@",
      "1:",
      "a-",
      "0.",
      "www.",
      "+1",
      "(",
      "DE12 ",
      "http://",
      "ab ",
      "a b",
    ];
    const size = build === "desensitize" ? 200_000 : 20_000;
    const texts = pieces.map((piece) => piece.repeat(Math.floor(size / piece.length)));
    const started = performance.now();
    guest.detect(texts);
    // Two thousand steps for each byte at most, in seconds at a tenth of any machine's speed; a quadratic scan needs hours.
    expect(performance.now() - started).toBeLessThan(50_000);
  });

  test("a match may be long as long as it could have ended on the way, and no longer without", () => {
    const guest = createDetectors(build, ["url", "email", { name: "run", pattern: "[a-z ]*!" }]);
    const path = "x".repeat(100_000);
    for (const one of [path, "é".repeat(5000), "a/b.".repeat(5000)]) {
      const [redacted] = guest.redact([`https://example.com/${one}1 end`]);
      expect(redacted?.slice(0, 100)).toBe("[URL] end");
    }
    expect(guest.redact([`${"x".repeat(500)}@example.com`])).toEqual(["[EMAIL]"]);
    expect(guest.redact([`${"y".repeat(511)}!`, `${"y".repeat(512)}!`])).toEqual([
      "[RUN]",
      `${"y".repeat(512)}!`,
    ]);
  });
});

describe("the guest refuses", () => {
  const block = encodeDetectors(compileDetectors(["email", { name: "x", pattern: "x[0-9]+" }]));
  const refuses = (bytes: Uint8Array) => createDetectKernel("desensitize.debug", bytes) === null;

  test("a block that is cut off anywhere, or too long", () => {
    expect(refuses(block)).toBe(false);
    for (let length = 0; length < block.length; length += length < 400 ? 1 : 97) {
      expect(refuses(block.subarray(0, length)), String(length)).toBe(true);
    }
    expect(refuses(Buffer.concat([block, Buffer.alloc(4)]))).toBe(true);
  });

  test("words that are out of range, and traps on none", () => {
    const view = new DataView(block.buffer);
    for (let at = 0; at < 600; at += 4) {
      const before = view.getUint32(at, true);
      for (const value of [0, 1, 0xff, 0xffff, 0x7fffffff, 0xffffffff]) {
        view.setUint32(at, value, true);
        const kernel = createDetectKernel("desensitize.debug", block);
        if (kernel !== null) kernel.redact(["some john@example.com x1 text"]);
      }
      view.setUint32(at, before, true);
    }
    view.setUint32(0, 0, true);
    expect(refuses(block)).toBe(true);
  });

  test("the host refuses replacements that would need escapes, and masks of two characters", () => {
    const compiled = compileDetectors(["email"]);
    expect(() => encodeDetectors(compiled, { kind: "mask", with: "**" })).toThrow("exactly one");
    expect(() => encodeDetectors(compiled, { kind: "token", with: 'a"' })).toThrow("quote");
    expect(() => encodeDetectors(compiled, { kind: "token", with: "\ud800" })).toThrow("quote");
  });
});
