/**
 * Guests with one fault each, made out of the echo of hostile-guest.ts, and the check that must find it.
 */
import type { CheckName } from "../../../pipeline/wasm/conformance/checks.ts";
import { changedGuest, type Mode, modeConfig } from "../hostile-guest.ts";

export interface BadGuest {
  readonly what: string;
  /** The check that is about this fault. */
  readonly check: CheckName;
  /** Checks that fail beside it, since a fault there is a trap too, say; no other one fails. */
  readonly also?: readonly CheckName[];
  readonly module: () => Promise<Uint8Array>;
  readonly config: Uint8Array;
}

/** What follows is done when a batch has been answered, before its result goes back. */
const LAST_LINE = "  return result;\n}\n";
const FIRST_LINE = "  if (poisoned) return 0;\n";

function edit(from: string, to: string): (source: string) => string {
  return (source) => {
    if (source.split(from).length !== 2) throw new Error(`expected once: ${from}`);
    return source.replace(from, () => to);
  };
}

/** With globals, and statements before the result goes back. */
const atTheEnd = (statements: string, globals = "") =>
  edit(LAST_LINE, `${statements}\n${LAST_LINE}${globals}`);
/** With statements before anything else is done with a batch. */
const atTheStart = (statements: string) =>
  edit(FIRST_LINE, `${FIRST_LINE}${statements.replaceAll("ROWS", "load<u32>(batch, 4)")}\n`);

const HONEST = modeConfig("honest");

function changed(
  what: string,
  check: CheckName,
  change: (source: string) => string,
  also: readonly CheckName[] = [],
): BadGuest {
  return { what, check, also, module: () => changedGuest(change), config: HONEST };
}

let echo: Promise<Uint8Array> | null = null;

/** The echo as it is, told by its configuration what to do wrong. */
function inMode(mode: Mode, check: CheckName, also: readonly CheckName[] = []): BadGuest {
  const module = () => {
    echo ??= changedGuest((source) => source);
    return echo;
  };
  return { what: mode, check, also, module, config: modeConfig(mode) };
}

const IMPORTS = (from: string, name: string) => (source: string) =>
  `@external("${from}", "${name}") declare function imported(a: i32, b: i32, c: i32): void;\n${source}
   export function more(): void { imported(1, 2, 3); }`;

/** Refuses every row of this batch. */
const REFUSE_ALL = `memory.fill(status, 12, rows); store<u32>(result, 0, 4); store<u32>(column, 0, 16);
  store<u32>(offsets, 0);`;

/** The ten kinds that every plugin author meets, by the words of the issue. */
export const TEN: readonly BadGuest[] = [
  changed(
    "wrong version",
    "version",
    edit("abi_version(): i32 { return 1; }", "abi_version(): i32 { return 2; }"),
  ),
  inMode("data outside memory", "pointers"),
  inMode("offsets that fall", "offsets"),
  changed(
    "memory growth without end",
    "memory",
    atTheEnd("  if (rows) while (memory.grow(1) >= 0) {}"),
  ),
  changed("infinite loop", "deadline", atTheStart("  if (ROWS) while (true) {}")),
  changed("trap", "traps", atTheStart("  if (ROWS) unreachable();")),
  changed(
    "output too large",
    "output-size",
    atTheEnd(`  if (rows) {
    const much: usize = 40 << 20;
    const out = alloc(much, 16);
    store<u32>(column, <u32>out, 12);
    store<u32>(column, <u32>much, 16);
    store<u32>(offsets + (rows << 2), <u32>much);
  }`),
  ),
  inMode("no output of a row that is fine", "row-statuses", ["empty-batch", "result"]),
  changed(
    "nondeterminism",
    "repeatable",
    atTheEnd("  if (bytes) store<u8>(data, ++counter);", "let counter: i32 = 0;\n"),
    ["other-batches", "row-values", "null-rows", "large-values", "not-utf8"],
  ),
  changed("host import not granted", "imports", IMPORTS("wasi_snapshot_preview1", "random_get")),
];

export const OTHERS: readonly BadGuest[] = [
  changed("an import of a clock", "imports", IMPORTS("env", "seed")),
  changed(
    "no configure",
    "exports",
    edit("export function configure", "export function configured"),
  ),
  changed(
    "a transform with other parameters",
    "exports",
    edit("transform(batch: usize): usize {", "transform(batch: usize, more: usize): usize {"),
  ),
  inMode("statuses outside memory", "pointers"),
  inMode("result of another magic", "result", ["empty-batch"]),
  inMode("an unknown status", "row-statuses"),
  inMode("output of a refused row", "row-statuses"),
  inMode("configure refuses", "configure"),
  inMode("configure traps", "traps"),
  inMode("configure loops", "deadline"),
  changed(
    "memory that is not aligned",
    "alloc",
    edit("const start = (top + align - 1) & ~(align - 1);", "const start = top + 1;"),
  ),
  changed("the same memory twice", "alloc", edit("  top = start + size;\n", "")),
  changed(
    "a trap when there is no memory left",
    "alloc",
    edit(
      "memory.grow(pages - memory.size()) < 0) return 0;",
      "memory.grow(pages - memory.size()) < 0) unreachable();",
    ),
  ),
  changed("a batch that fails", "whole-batch", atTheStart("  if (ROWS > 1) return 0;")),
  changed("a loop before anything is called", "deadline", (source) => `${source}\nwhile (true) {}`),
  changed("recursion without end", "traps", (source) =>
    atTheStart("  if (ROWS) deeper(1);")(
      `${source}\nfunction deeper(n: i32): i32 { return deeper(n + 1) + deeper(n + 2); }`,
    ),
  ),
  changed("no rows", "empty-batch", atTheStart("  if (!ROWS) unreachable();"), ["traps"]),
  changed("null rows", "null-rows", atTheStart("  if (load<u32>(batch, 20)) unreachable();"), [
    "traps",
  ]),
  changed(
    "null rows that change what others become",
    "null-rows",
    atTheEnd("  if (load<u32>(batch, 36)) store<u8>(data, 0x21);"),
  ),
  changed(
    "a buffer of 64 KiB",
    "large-values",
    atTheEnd(`  for (let row: usize = 0; row < rows; row++) {
    const one = load<u32>(offsets + (row << 2), 4) - load<u32>(offsets + (row << 2));
    if (one > 65536) unreachable();
  }`),
    ["traps", "reset"],
  ),
  changed(
    "bytes that are not UTF-8",
    "not-utf8",
    atTheEnd(
      "  for (let i: u32 = 0; i < bytes; i++) if (load<u8>(data + i) == 0xff) unreachable();",
    ),
    ["traps"],
  ),
  changed(
    "a reset that drops nothing",
    "reset",
    edit("reset(): void { top = floor; }", "reset(): void {}"),
  ),
  changed(
    "64 bytes kept of every batch",
    "reset",
    edit("reset(): void { top = floor; }", "reset(): void { floor += 64; top = floor; }"),
  ),
  changed(
    "rows of other batches",
    "other-batches",
    atTheEnd(
      "  if (rows > 1) { if (seen && seen != bytes) store<u8>(data, 0x21); seen = bytes; }",
      "let seen: u32 = 0;\n",
    ),
    ["row-values", "null-rows"],
  ),
  changed("a row's fate by its batch", "row-fates", atTheEnd(`  if (rows < 10) { ${REFUSE_ALL} }`)),
  changed(
    "a row's output by its batch",
    "row-values",
    atTheEnd("  if (rows < 10 && bytes) store<u8>(data, 0x21);"),
  ),
  changed("a loop for single rows", "deadline", atTheStart("  if (ROWS == 1) while (true) {}")),
  {
    ...changed("its configuration after configure", "config-after-wipe", (source) =>
      atTheEnd("  if (bytes) store<u8>(data, load<u8>(data) ^ load<u8>(kept + 1));")(
        edit(
          "mode = bytes ? load<u8>(at) : 0;",
          "mode = bytes ? load<u8>(at) : 0; kept = at;",
        )(`let kept: usize = 0;\n${source}`),
      ),
    ),
    config: Uint8Array.of(0, 7),
  },
];
