/** Strict CBOR: one value, one encoding, and every other byte string is refused without an exception. */
import { createHash } from "node:crypto";
import { encode } from "cbor2";
import { describe, expect, test } from "vitest";
import {
  CBOR_UNSIGNED,
  type CborValue,
  decodeCbor,
  encodeCbor,
  headBytes,
  readHead,
  writeHead,
} from "../../pipeline/crypto/cbor.ts";
import { isSealstreamError } from "../../pipeline/errors.ts";
import { bytesOf, hexOf } from "./fixtures.ts";

describe("encodeCbor and decodeCbor", () => {
  const known: [string, CborValue][] = [
    ["00", 0],
    ["17", 23],
    ["1818", 24],
    ["1903e8", 1000],
    ["1b000000e8d4a51000", 1000000000000],
    ["1bffffffffffffffff", 18446744073709551615n],
    ["20", -1],
    ["3903e7", -1000],
    ["f93c01", 1.0009765625],
    ["fb3ff199999999999a", 1.1],
    ["f97c00", Number.POSITIVE_INFINITY],
    ["f4", false],
    ["f6", null],
    ["60", ""],
    ["62c3bc", "\u00fc"],
    ["4401020304", bytesOf("01020304")],
    ["80", []],
    ["83010203", [1, 2, 3]],
    ["a0", {}],
    ["a26161016162820203", { a: 1, b: [2, 3] }],
    ["a3616101616202626161f5", { aa: true, b: 2, a: 1 }],
    [
      "a201020326",
      new Map([
        [1, 2],
        [3, -7],
      ]),
    ],
  ];

  test("known encodings (RFC 8949 appendix A) both ways", () => {
    for (const [hex, value] of known) {
      expect(hexOf(encodeCbor(value)), hex).toBe(hex);
      expect(decodeCbor(bytesOf(hex)), hex).toEqual(value);
    }
  });

  test("a Buffer is encoded as a byte string, wherever it stands", () => {
    expect(hexOf(encodeCbor({ a: [Buffer.from([1])] }))).toBe("a16161814101");
  });

  test("a key named __proto__ stays a key", () => {
    const value = decodeCbor(encodeCbor(JSON.parse('{"__proto__":1}')));
    expect(Object.entries(value ?? {})).toEqual([["__proto__", 1]]);
  });

  const refused: [string, string][] = [
    ["empty", ""],
    ["trailing byte", "0000"],
    ["long integer", "1817"],
    ["long length", "580101"],
    ["long float", "fb3ff0000000000000"],
    ["integer as float", "f93c00"],
    ["indefinite bytes", "5f4101ff"],
    ["indefinite array", "9f01ff"],
    ["indefinite map", "bf0101ff"],
    ["duplicate key", "a201010102"],
    ["unsorted keys", "a203010102"],
    ["tag", "c001"],
    ["tag inside", "8181c240"],
    ["tag as key", "a1c00101"],
    ["undefined", "f7"],
    ["simple value", "e0"],
    ["invalid UTF-8", "62c328"],
    ["reserved length", "1c"],
    ["break alone", "ff"],
    ["truncated array", "8201"],
    ["truncated bytes", "4401"],
    ["huge array", "9b0020000000000000"],
    ["huge bytes", "5bffffffffffffffff"],
    ["whole float beyond 2^53", "fa5d800000"],
    ["NaN with a payload", "f97e01"],
    ["long NaN", "fa7fc00000"],
    ["too deep", `${"81".repeat(40)}00`],
  ];
  test.each(refused)("refuses %s", (_, hex) => {
    expect(decodeCbor(bytesOf(hex))).toBeNull();
  });

  test("refuses what is larger than asked for", () => {
    expect(decodeCbor(bytesOf("4401020304"), { maxBytes: 4 })).toBeNull();
    expect(decodeCbor(bytesOf("4401020304"), { maxBytes: 5 })).not.toBeNull();
    expect(decodeCbor(bytesOf("818100"), { maxDepth: 1 })).toBeNull();
  });

  test("never throws, and what it takes has no second encoding", () => {
    for (let round = 0; round < 20_000; round++) {
      const noise = createHash("sha256").update(`cbor ${round}`).digest();
      const bytes = new Uint8Array(noise.subarray(0, 1 + (round % 12)));
      const value = decodeCbor(bytes);
      if (value !== null) expect(hexOf(encodeCbor(value)), hexOf(bytes)).toBe(hexOf(bytes));
    }
  });

  test("writes what cbor2 writes", () => {
    let state = 1;
    // A small fixed generator (Lehmer), so that a failure comes again.
    const next = (below: number) => {
      state = (state * 48_271) % 2_147_483_647;
      return state % below;
    };
    const value = (depth: number): CborValue => {
      const kinds: (() => CborValue)[] = [
        () => next(70_000) - 35_000,
        () => (next(2) ? 1 : -1) * next(2 ** 31) * 2 ** 20,
        () => next(1000) / 7,
        () => BigInt(next(2 ** 31)) * 2n ** 33n,
        () => -BigInt(next(2 ** 31)) * 2n ** 32n - 2n ** 53n - 1n,
        () => "\u00e9\u4e2d".repeat(next(20)),
        () => new Uint8Array(next(300)),
        () => [true, false, null, -0, Number.NaN][next(5)] ?? null,
        () => Array.from({ length: next(30) }, () => value(depth + 1)),
        () =>
          Object.fromEntries(
            Array.from({ length: next(30) }, () => [`k${next(999)}`, value(depth + 1)]),
          ),
        () => new Map(Array.from({ length: next(5) }, (_, i) => [i * 40 - 80, value(depth + 1)])),
      ];
      return kinds[next(depth > 3 ? 8 : kinds.length)]!();
    };
    for (let round = 0; round < 3000; round++) {
      const one = value(0);
      expect(hexOf(encodeCbor(one)), `round ${round}`).toBe(hexOf(encode(one, { cde: true })));
      expect(decodeCbor(encodeCbor([one])), `round ${round}`).not.toBeNull();
    }
  });

  test("throws internal for what has no encoding here", () => {
    const doubled = new Map([
      [new Uint8Array(1), 1],
      [new Uint8Array(1), 2],
    ]);
    // Because the type forbids these, and a caller that gets around it is a bug.
    const wrong = [
      undefined,
      { a: undefined },
      2 ** 60,
      2n ** 64n,
      new Date(0),
      () => 1,
      doubled,
      -(2n ** 53n),
    ] as never[];
    for (const value of wrong) {
      expect(() => encodeCbor(value)).toThrow(expect.objectContaining({ code: "internal" }));
    }
    try {
      encodeCbor(new Float32Array(2) as never);
      expect.unreachable();
    } catch (error) {
      expect(isSealstreamError(error, "internal")).toBe(true);
    }
  });
});

test("heads are the shortest and are read back", () => {
  const edges = [0, 23, 24, 255, 256, 65535, 65536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1];
  for (const value of edges) {
    const target = Buffer.alloc(9);
    const end = writeHead(target, 0, CBOR_UNSIGNED, value);
    expect(end).toBe(headBytes(value));
    expect(hexOf(target.subarray(0, end))).toBe(hexOf(encodeCbor(value)));
    expect(readHead(target, 0, CBOR_UNSIGNED)).toBe(value);
    expect(readHead(target.subarray(0, end - 1), 0, CBOR_UNSIGNED)).toBe(-1);
  }
  for (const hex of [
    "1817",
    "190017",
    "1a00000100",
    "1b00000000ffffffff",
    "1b0020000000000000",
    "1f",
    "40",
  ]) {
    expect(readHead(bytesOf(hex), 0, CBOR_UNSIGNED), hex).toBe(-1);
  }
});
