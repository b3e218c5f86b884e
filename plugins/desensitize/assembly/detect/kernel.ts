/**
 * The detectors on their own, exported beside the ABI for tests and benchmarks; the rules use configure.ts and redact.ts.
 *
 * A caller allocates by the ABI's `alloc`, configures once for each set, and hands over columns of texts.
 */
import { keepForEver, reserve } from "../arena";
import { configureDetectors, redactGrowth } from "./configure";
import { redactText } from "./redact";
import { beginScan, scanOn } from "./scan";
import { takenEnd, takenStart, takenType, takeSpan } from "./spans";

/** Bytes of a detection in a list: row, start, end, type. */
const DETECTION_BYTES: usize = 16;

/** A set of detectors, or 0; it stays for the life of the instance. */
export function configure_detectors(block: usize, bytes: usize): usize {
  const set = configureDetectors(block, bytes);
  keepForEver();
  return set;
}

export function redact_growth(set: usize): u32 {
  return redactGrowth(set);
}

/**
 * Finds the detections in every text of a column.
 * @param out the arena's last allocation: u32 row, start, end (bytes in the text) and type of each detection in order
 * @returns their number, or -1 when memory is at its maximum
 */
export function detect_column(set: usize, rows: usize, offsets: usize, data: usize, out: usize): i32 {
  let at = out;
  let from = load<u32>(offsets);
  for (let row: usize = 0; row < rows; row++) {
    const to = load<u32>(offsets + ((row + 1) << 2));
    const start = data + from;
    beginScan(set, start, data + to);
    let safe: usize = 0;
    do {
      safe = scanOn();
      while (takeSpan(safe)) {
        if (!reserve(at, DETECTION_BYTES)) return -1;
        store<u32>(at, <u32>row);
        store<u32>(at, <u32>(takenStart() - start), 4);
        store<u32>(at, <u32>(takenEnd() - start), 8);
        store<u32>(at, takenType(), 12);
        at += DETECTION_BYTES;
      }
    } while (safe != data + to);
    from = to;
  }
  return <i32>((at - out) / DETECTION_BYTES);
}

/**
 * Redacts every text of a column to one buffer, without escapes.
 * @param offsetsOut u32 end of each text in `out`
 * @param out room for redact_growth() times the data, and 16 bytes
 * @returns the end of what was written
 */
export function redact_column(
  set: usize, rows: usize, offsets: usize, data: usize, offsetsOut: usize, out: usize,
): usize {
  let at = out;
  for (let row: usize = 0; row < rows; row++) {
    const from = load<u32>(offsets + (row << 2));
    const to = load<u32>(offsets + ((row + 1) << 2));
    at = redactText(set, at, data + from, data + to, false);
    store<u32>(offsetsOut + (row << 2), <u32>(at - out));
  }
  return at;
}
