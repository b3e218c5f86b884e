/** Changes a pipeline file as a whole: who reads it sees the old one or the new one, and a power cut leaves one of them. */
import {
  chmodSync,
  closeSync,
  fsyncSync,
  openSync,
  realpathSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { readFile } from "node:fs/promises";

/** @returns whether anything changed */
export async function editFile(path: string, edit: (text: string) => string): Promise<boolean> {
  // A link stays a link.
  const file = realpathSync(path);
  const before = await readFile(file, "utf8");
  const after = edit(before);
  if (after === before) return false;
  const next = `${file}.new`;
  const descriptor = openSync(next, "w");
  try {
    writeFileSync(descriptor, after);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  chmodSync(next, statSync(file).mode);
  renameSync(next, file);
  return true;
}
