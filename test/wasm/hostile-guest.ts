/**
 * A plugin that echoes its one column, unless it is told to do harm: by its configuration (the first byte is a mode)
 * in what it hands back, or by a row's first letter in what it does.
 *
 * L loops for ever, T traps, G takes all memory it can get and traps, F fails the whole batch, P traps and leaves the
 * instance unable to do anything any more.
 */
import asc from "assemblyscript/asc";

export const MODES = [
  "honest",
  "result outside memory",
  "result not aligned",
  "result of another magic",
  "result for another number of rows",
  "more rows than fit",
  "more columns than allowed",
  "statuses outside memory",
  "an unknown status",
  "a row number out of range",
  "row numbers that fall",
  "output of a refused row",
  "no output of a row that is fine",
  "offsets that fall",
  "offsets that end elsewhere",
  "offsets that begin elsewhere",
  "offsets outside memory",
  "data outside memory",
  "data of 4 GiB",
  "a wrong null count",
  "validity outside memory",
  "an unknown column type",
  "flags that are not zero",
  "columns past the end of memory",
  "alloc outside memory",
  "alloc of nothing",
  "alloc not aligned",
  "configure refuses",
  "configure loops",
  "configure traps",
  "another ABI version",
  "memory size as output",
  "fails empty batches too",
] as const;
export type Mode = (typeof MODES)[number];

/** The configuration that sets a mode. */
export function modeConfig(mode: Mode): Uint8Array {
  return Uint8Array.of(MODES.indexOf(mode));
}

const code = (mode: Mode): string => `mode == ${MODES.indexOf(mode)}`;

const SOURCE = `
let mode: i32 = 0;
let floor: usize = (__heap_base + 15) & ~15;
let top: usize = floor;

export function abi_version(): i32 { return 1; }
export function last_error(): usize { return 0; }
export function alloc(size: usize, align: usize): usize {
  if (${code("alloc outside memory")}) return 0xfffffff0;
  if (${code("alloc of nothing")}) return 0;
  const start = (top + align - 1) & ~(align - 1);
  const pages = <i32>((start + size + 65535) >> 16);
  if (pages > memory.size() && memory.grow(pages - memory.size()) < 0) return 0;
  top = start + size;
  return ${code("alloc not aligned")} ? start + 1 : start;
}
export function configure(at: usize, bytes: usize): i32 {
  mode = bytes ? load<u8>(at) : 0;
  if (${code("configure loops")}) while (true) {}
  if (${code("configure traps")}) unreachable();
  floor = top;
  return ${code("configure refuses")} ? 7 : 0;
}
export function reset(): void { top = floor; }

let poisoned: bool = false;

function act(letter: i32): bool {
  if (letter == 0x4c) while (true) {}
  if (letter == 0x54) unreachable();
  if (letter == 0x50) { poisoned = true; unreachable(); }
  if (letter == 0x47) { while (memory.grow(16) >= 0) {} unreachable(); }
  return letter == 0x46;
}

export function transform(batch: usize): usize {
  if (poisoned) return 0;
  const rows = <usize>load<u32>(batch, 4);
  if (!rows && ${code("fails empty batches too")}) return 0;
  const offsets = <usize>load<u32>(batch, 24);
  const data = <usize>load<u32>(batch, 28);
  const bytes = load<u32>(batch, 32);
  for (let row: usize = 0; row < rows; row++) {
    const from = load<u32>(offsets + (row << 2));
    if (from < load<u32>(offsets + ((row + 1) << 2)) && act(load<u8>(data + from))) return 0;
  }
  const result = alloc(64, 16), status = alloc(rows + 16, 16), index = alloc((rows << 2) + 16, 16);
  memory.fill(status, 0, rows);
  for (let row: usize = 0; row < rows; row++) store<u32>(index + (row << 2), <u32>row);
  const column = result + 32;
  memory.fill(result, 0, 64);
  store<u32>(result, 0x31525353);
  store<u32>(result, <u32>rows, 4);
  store<u32>(result, 1, 8);
  store<u32>(result, <u32>rows, 16);
  store<u32>(result, <u32>status, 20);
  store<u32>(result, <u32>index, 24);
  store<u32>(column, <u32>offsets, 8);
  store<u32>(column, <u32>data, 12);
  store<u32>(column, bytes, 16);

  if (${code("result outside memory")}) return <usize>memory.size() << 16;
  if (${code("result not aligned")}) return result + 1;
  if (${code("result of another magic")}) store<u32>(result, 1);
  if (${code("result for another number of rows")}) store<u32>(result, <u32>rows + 1, 16);
  if (${code("more rows than fit")}) store<u32>(result, 0x7fffffff, 4);
  if (${code("more columns than allowed")}) store<u32>(result, 17, 8);
  if (${code("statuses outside memory")}) store<u32>(result, 0xfffffffe, 20);
  if (${code("an unknown status")}) store<u8>(status, 200);
  if (${code("a row number out of range")}) store<u32>(index + ((rows - 1) << 2), <u32>rows);
  if (${code("row numbers that fall")}) { store<u32>(index, 1); store<u32>(index, 0, 4); }
  if (${code("output of a refused row")}) store<u8>(status, 5);
  if (${code("no output of a row that is fine")}) store<u32>(result, <u32>rows - 1, 4);
  if (${code("no output of a row that is fine")}) store<u32>(column, load<u32>(offsets + ((rows - 1) << 2)), 16);
  if (${code("offsets that fall")}) store<u32>(offsets, 0xffff, 4);
  if (${code("offsets that end elsewhere")}) store<u32>(column, bytes + 1, 16);
  if (${code("offsets that begin elsewhere")}) store<u32>(offsets, 1);
  if (${code("offsets outside memory")}) store<u32>(column, 0xfffffff0, 8);
  if (${code("data outside memory")}) store<u32>(column, <u32>(<usize>memory.size() << 16) - 1, 12);
  if (${code("data of 4 GiB")}) { store<u32>(column, 0xffffffff, 16); store<u32>(offsets + (rows << 2), 0xffffffff); }
  if (${code("a wrong null count")}) store<u32>(column, 1, 20);
  if (${code("validity outside memory")}) store<u32>(column, 0xfffffff0, 4);
  if (${code("an unknown column type")}) store<u32>(column, 9);
  if (${code("flags that are not zero")}) store<u32>(result, 1, 12);
  if (${code("columns past the end of memory")}) {
    const end = (<usize>memory.size() << 16) - 32;
    memory.copy(end, result, 32);
    return end;
  }
  if (${code("memory size as output")}) {
    while (memory.grow(1) >= 0) {}
    const out = alloc(16, 16);
    store<u32>(out, memory.size());
    for (let row: usize = 0; row <= rows; row++) store<u32>(offsets + (row << 2), row < rows ? 0 : 4);
    store<u32>(column, <u32>out, 12);
    store<u32>(column, 4, 16);
  }
  return result;
}
`;

async function compile(source: string, options: Record<string, unknown> = {}): Promise<Uint8Array> {
  const { error, binary, stderr } = await asc.compileString(source, {
    runtime: "stub",
    optimizeLevel: 1,
    ...options,
  });
  if (error !== null || binary === null)
    throw new Error(`the guest does not compile: ${stderr.toString()}`);
  return binary;
}

/** The guest above; the ABI version is a constant, so its mode has a module of its own. */
export function hostileGuest(
  mode: Mode = "honest",
  options: Record<string, unknown> = {},
): Promise<Uint8Array> {
  const source =
    mode === "another ABI version"
      ? SOURCE.replace("i32 { return 1; }", "i32 { return 2; }")
      : SOURCE;
  return compile(source, options);
}

/** The guest with more source before or without a part of it. */
export function changedGuest(
  change: (source: string) => string,
  options: Record<string, unknown> = {},
): Promise<Uint8Array> {
  return compile(change(SOURCE), options);
}
