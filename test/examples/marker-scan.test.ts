/**
 * The marker scan finds what is planted: every encoding, alignment, offset and chunk border; and nothing else.
 */
import { createHash, randomFillSync } from "node:crypto";
import { describe, expect, it } from "vitest";
import { createMarkerScan, type MarkerEncoding } from "../../examples/digits/marker-scan.ts";

const SHORT = "Li Wei 8";
const LONG = "maria.müller-lüdenscheidt@example.org";
const NOTE = '"Ольга" said:\nC:\\temp\t🙂';
const MARKERS = [SHORT, LONG, NOTE];

/** The same bytes on every run, and none of them a marker: hash output. */
function filler(bytes: number, seed = "filler"): Uint8Array {
  const blocks: Buffer[] = [];
  for (let index = 0; index * 32 < bytes; index++) {
    blocks.push(createHash("sha256").update(`${seed}${index}`).digest());
  }
  return Buffer.concat(blocks).subarray(0, bytes);
}

const join = (...parts: (Uint8Array | string)[]): Uint8Array =>
  Uint8Array.from(Buffer.concat(parts.map((part) => Buffer.from(part as string))));

/** Every way in which a scan must find a marker. */
type Planted = [string, MarkerEncoding, (marker: string) => Uint8Array | string];

const PLANTED: Planted[] = [
  ["raw", "raw", (marker) => marker],
  ["lower hex", "hex", (marker) => Buffer.from(marker).toString("hex")],
  ["upper hex", "hex", (marker) => Buffer.from(marker).toString("hex").toUpperCase()],
  ...[0, 1, 2, 3, 4, 5].flatMap((before) =>
    (["base64", "base64url"] as const).map((alphabet): Planted => {
      const around = new Uint8Array(before).fill(255);
      const write = (marker: string) =>
        Buffer.from(join(around, marker, "\xfe")).toString(alphabet);
      return [`${alphabet} behind ${before} bytes`, "base64", write];
    }),
  ),
];

describe("createMarkerScan", () => {
  it.each(PLANTED)("finds each marker as %s at every offset", (_how, encoding, write) => {
    for (const marker of MARKERS) {
      for (let offset = 0; offset < 9; offset++) {
        const scan = createMarkerScan(MARKERS);
        scan.scan("here", join(filler(offset), write(marker), filler(offset % 5)));
        expect(scan.hits()).toEqual([{ where: "here", encoding, count: 1 }]);
      }
    }
  });

  it("finds a marker as JSON writes it, plain and in ASCII", () => {
    const ascii = JSON.stringify(NOTE).replace(
      /[^\x20-\x7e]/g,
      (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
    for (const written of [
      JSON.stringify({ note: NOTE }),
      ascii,
      Buffer.from(ascii).toString("base64"),
    ]) {
      const scan = createMarkerScan(MARKERS);
      scan.scan("log", join(written));
      expect(scan.total).toBe(1);
    }
  });

  it("finds a marker at whatever alignment the memory has", () => {
    for (let shift = 0; shift < 8; shift++) {
      const memory = new Uint8Array(64);
      memory.set(Buffer.from(SHORT), shift);
      const scan = createMarkerScan(MARKERS);
      scan.scan("here", memory.subarray(shift, shift + SHORT.length));
      expect(scan.total).toBe(1);
    }
  });

  it("counts each place and encoding, and never tells the value", () => {
    const scan = createMarkerScan(MARKERS);
    scan.scan("a", join(SHORT, SHORT, LONG));
    scan.scan("b", join("..", Buffer.from(LONG).toString("hex")));
    scan.scan("c", filler(10_000));
    expect(scan.hits()).toEqual([
      { where: "a", encoding: "raw", count: 3 },
      { where: "b", encoding: "hex", count: 1 },
    ]);
    expect(scan.total).toBe(4);
    expect(scan.bytesScanned).toBeGreaterThan(10_000);
    expect(JSON.stringify(scan.hits())).not.toMatch(/Li Wei|maria/);
  });

  it("finds nothing in other bytes, in truncated markers, or in markers with one bit changed", () => {
    const scan = createMarkerScan(MARKERS);
    scan.scan("random", randomFillSync(new Uint8Array(4_000_000)));
    scan.scan("empty", new Uint8Array(0));
    for (const [, , write] of PLANTED.slice(0, 3)) {
      for (const marker of MARKERS) {
        const bytes = join(write(marker));
        scan.scan("cut", bytes.subarray(1));
        scan.scan("cut", bytes.subarray(0, -1));
        for (let index = 0; index < bytes.length; index++) {
          const changed = Uint8Array.from(bytes);
          changed[index] = (changed[index] ?? 0) ^ 1;
          scan.scan("changed", changed);
        }
      }
    }
    expect(scan.hits()).toEqual([]);
  });

  it("leaves out values below 8 bytes of UTF-8, and repetitions", () => {
    expect(createMarkerScan(["1234567", "ééé", "éééé", "éééé", "12345678"]).markers).toBe(2);
    const scan = createMarkerScan([]);
    scan.scan("here", join(LONG));
    expect(scan.total).toBe(0);
  });
});

describe("a stream of chunks", () => {
  it.each(PLANTED)("finds %s across every chunk border, once", (_how, encoding, write) => {
    const bytes = join(filler(50), write(LONG), filler(50));
    for (let cut = 0; cut <= bytes.length; cut++) {
      const scan = createMarkerScan(MARKERS);
      scan.feed("log", bytes.subarray(0, cut));
      scan.feed("log", bytes.subarray(cut));
      expect(scan.hits()).toEqual([{ where: "log", encoding, count: 1 }]);
    }
  });

  it.each([1, 2, 3, 5, 7, 16, 64])(
    "counts the same in chunks of %i bytes as in one piece",
    (size) => {
      const bytes = join(
        ...Array.from({ length: 20 }, (_, index) =>
          join(
            filler(index * 7, `f${index}`),
            PLANTED[index % PLANTED.length]![2](MARKERS[index % 3]!),
          ),
        ),
      );
      const scan = createMarkerScan(MARKERS);
      for (let at = 0; at < bytes.length; at += size)
        scan.feed("log", bytes.subarray(at, at + size));
      expect(scan.total).toBe(20);
      const whole = createMarkerScan(MARKERS);
      whole.scan("log", bytes);
      expect(scan.hits()).toEqual(whole.hits());
    },
  );

  it("does not mix streams, and does not keep the caller's buffer", () => {
    const scan = createMarkerScan(MARKERS);
    const buffer = join(LONG);
    const half = Math.floor(buffer.length / 2);
    const first = buffer.slice(0, half);
    scan.feed("one", first);
    first.fill(0);
    scan.feed("two", buffer.subarray(half));
    expect(scan.total).toBe(0);
    scan.feed("one", buffer.subarray(half));
    expect(scan.hits()).toEqual([{ where: "one", encoding: "raw", count: 1 }]);
  });

  it("forgets what came before the end", () => {
    const scan = createMarkerScan(MARKERS);
    const bytes = join(LONG);
    scan.feed("log", bytes.subarray(0, 9));
    scan.end("log");
    scan.feed("log", bytes.subarray(9));
    expect(scan.total).toBe(0);
  });
});
