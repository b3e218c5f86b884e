/** Command-line options that several commands read, checked. */
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { STAGES, type StageName } from "../../schemas/topics.ts";
import { SealstreamError } from "../errors.ts";
import type { CommandContext } from "./context.ts";

/** Options as the command line gives them: nothing about them is known yet. */
export type Options = Readonly<Record<string, unknown>>;

const MAX_INSTANCES = 64;

const MAX_PORT = 65_535;

/** Where downloaded jars and temporary data lie: the XDG cache folder. */
export function cacheFolder(environment: CommandContext["environment"]): string {
  return join(environment["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "sealstream");
}

/** A TCP port out of a command-line option, or null when it was not given. @throws SealstreamError `usage` */
export function portOption(value: unknown, name: string): number | null {
  if (value === undefined) {
    return null;
  }
  const port = Number(value);
  if (!Number.isInteger(port) || port < 0 || port > MAX_PORT) {
    throw new SealstreamError("usage", `--${name} must be a port number from 0 to ${MAX_PORT}.`);
  }
  return port;
}

/** Folder of all key folders: `--keys`, else `keys` beside the pipeline file. */
export function keysFolder(file: string, options: Options): string {
  const named = options["keys"];
  return typeof named === "string" ? resolve(named) : join(dirname(resolve(file)), "keys");
}

/** `--stage`, or null for all. @throws SealstreamError `usage` */
export function stageOption(options: Options): StageName | null {
  const named = options["stage"];
  if (named === undefined) {
    return null;
  }
  const stage = STAGES.find((name) => name === named);
  if (stage === undefined) {
    throw new SealstreamError(
      "usage",
      `There is no stage "${String(named)}": the stages are ${STAGES.join(", ")}.`,
    );
  }
  return stage;
}

/** A small whole number. @throws SealstreamError `usage` */
export function countOption(
  value: unknown,
  name: string,
  {
    least,
    fallback,
    most = MAX_INSTANCES,
  }: { readonly least: number; readonly fallback: number; readonly most?: number },
): number {
  const count = value === undefined ? fallback : Number(value);
  if (!Number.isInteger(count) || count < least || count > most) {
    throw new SealstreamError(
      "usage",
      `--${name} must be a whole number from ${least} to ${most}.`,
    );
  }
  return count;
}

/** Address that metrics are served at: this machine alone unless said. */
export function hostOption(value: unknown): string {
  return typeof value === "string" ? value : "127.0.0.1";
}
