/**
 * Epsilon over the entries of a ledger as a picture of characters: what has been spent, and what the file allows.
 *
 * An own one, because the one well-known library for it has not been kept since 2020, and steps are drawn better as
 * columns than as lines. Must not round a column down to nothing: whatever has been spent is seen.
 */
const BARS = " ▁▂▃▄▅▆▇█";
const LEVELS = BARS.length - 1;
const ROWS = 8;
const AXIS_WIDTH = 9;
const MIN_COLUMNS = 16;
const MAX_COLUMNS = 96;

/**
 * @param points epsilon after each entry, oldest first; finite, >= 0
 * @param options.budget epsilon that the file allows, drawn as a line
 * @param options.columns of the terminal
 * @returns lines; none for fewer than two points
 */
export function epsilonCurve(
  points: readonly number[],
  options: { readonly budget: number; readonly columns?: number | undefined },
): string[] {
  if (points.length < 2) return [];
  const room = (options.columns ?? MAX_COLUMNS) - AXIS_WIDTH - 2;
  const width = Math.min(points.length, Math.max(MIN_COLUMNS, Math.min(MAX_COLUMNS, room)));
  const top = Math.max(options.budget, ...points);
  const heights = Array.from({ length: width }, (_, column) => {
    const from = Math.floor((column * points.length) / width);
    const to = Math.floor(((column + 1) * points.length) / width);
    const most = points.slice(from, to).reduce((high, value) => Math.max(high, value), 0);
    return most === 0 ? 0 : Math.max(1, Math.round((most / top) * ROWS * LEVELS));
  });
  const budgetRow = Math.min(ROWS - 1, Math.max(0, Math.ceil((options.budget / top) * ROWS) - 1));
  const lines: string[] = [];
  for (let row = ROWS - 1; row >= 0; row -= 1) {
    const isBudget = row === budgetRow;
    const cells = heights.map((height) => {
      const level = Math.max(0, Math.min(LEVELS, height - row * LEVELS));
      return level === 0 && isBudget ? "·" : (BARS[level] ?? " ");
    });
    const label = row === ROWS - 1 ? top.toFixed(3) : "";
    const mark = isBudget ? ` budget ${options.budget}` : "";
    lines.push(`${label.padStart(AXIS_WIDTH)} ┤${cells.join("")}${mark}`.trimEnd());
  }
  lines.push(`${"0".padStart(AXIS_WIDTH)} └${"─".repeat(width)}`);
  const first = "epsilon, entry 0";
  const last = String(points.length - 1);
  const between = Math.max(first.length + 2, width - last.length);
  lines.push(`${" ".repeat(AXIS_WIDTH + 2)}${first.padEnd(between)}${last}`);
  return lines;
}
