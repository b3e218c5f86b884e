/**
 * Sees every file that appears or changes below some folders while a program runs, also one that is soon removed again:
 * what a scan of the folders afterwards would miss. Must not write anything.
 */
import { type FSWatcher, readFileSync, statSync, watch } from "node:fs";
import { join } from "node:path";

export interface FolderWatch {
  /** Files by path, with what stood in them when they were last seen; null: gone before they could be read. */
  stop(): Promise<ReadonlyMap<string, Uint8Array | null>>;
}

/** How long after the last event the system may still tell of an earlier one. */
const SETTLE_MS = 250;

/** Watches folders that exist, with everything below them. */
export function watchFolders(folders: readonly string[]): FolderWatch {
  const seen = new Map<string, Uint8Array | null>();
  const watchers: FSWatcher[] = folders.map((folder) =>
    watch(folder, { recursive: true }, (_event, name) => {
      if (name !== null) look(join(folder, name));
    }),
  );

  function look(path: string): void {
    try {
      if (statSync(path).isFile()) seen.set(path, readFileSync(path));
    } catch {
      // Because a file that is gone again is just what is looked for; what stood in it before is kept.
      if (!seen.has(path)) seen.set(path, null);
    }
  }

  return {
    async stop() {
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
      for (const watcher of watchers) watcher.close();
      return seen;
    },
  };
}
