/** Rows as aligned columns of text under one head, as every command prints a table. Must not know what is in them. */

/** Numbers stand at the right of a column unless it says `left`. */
export type TextColumn<T> = readonly [title: string, value: (row: T) => string, left?: "left"];

/** A head line and one line a row; nothing for no rows. */
export function textTable<T>(columns: readonly TextColumn<T>[], rows: readonly T[]): string[] {
  if (rows.length === 0) return [];
  const cells = [
    columns.map(([title]) => title),
    ...rows.map((row) => columns.map(([, value]) => value(row))),
  ];
  const widths = columns.map((_, column) =>
    cells.reduce((most, line) => Math.max(most, line[column]?.length ?? 0), 0),
  );
  return cells.map((line) =>
    line
      .map((text, column) => {
        const width = widths[column] ?? 0;
        return columns[column]?.[2] === "left" ? text.padEnd(width) : text.padStart(width);
      })
      .join("  ")
      .trimEnd(),
  );
}
