/**
 * What is wrong with a pipeline file: where it stands, which key it is about, what was expected.
 *
 * A complaint never repeats a value that came from the environment, because that may be a secret.
 */

/** A way into a file: keys and indices from the top. */
export type KeyPath = readonly (string | number)[];

export interface Complaint {
  /** The file as it was named by the caller, or the record schema's path as the pipeline file names it. */
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** From 1, in UTF-16 units. */
  readonly column: number;
  /** As a person would write it: `desensitize[2].action`; empty for the file itself. */
  readonly path: string;
  /** What is wrong and what was expected, without a full stop. */
  readonly message: string;
}

const PLAIN_KEY = /^[A-Za-z_$][A-Za-z0-9_$-]*$/;

/** `["desensitize", 2, "action"]` as `desensitize[2].action`. */
export function formatPath(path: KeyPath): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else if (!PLAIN_KEY.test(part)) text += `[${JSON.stringify(part)}]`;
    else text += text === "" ? part : `.${part}`;
  }
  return text;
}

/** One line of text: `file:line:column path: message`. */
export function formatComplaint(complaint: Complaint): string {
  const { file, line, column, path, message } = complaint;
  return `${file}:${line}:${column} ${path === "" ? "" : `${path}: `}${message}`;
}

/** Complaints in the order in which a reader meets them, without repetitions. */
export function inFileOrder(complaints: readonly Complaint[]): Complaint[] {
  const seen = new Set<string>();
  return complaints
    .filter((complaint) => {
      const text = formatComplaint(complaint);
      if (seen.has(text)) return false;
      seen.add(text);
      return true;
    })
    .sort((a, b) => a.file.localeCompare(b.file) || a.line - b.line || a.column - b.column);
}
