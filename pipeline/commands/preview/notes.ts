/** The keys of a preview, and what a person must know beside the table. */
import { randomBytes } from "node:crypto";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import type { CommandContext } from "../context.ts";
import { secretFromEnvironment } from "../secrets.ts";

const THROW_AWAY_BYTES = 32;

export interface PreviewSecrets {
  /** @throws SealstreamError `key-invalid` for one that is there and cannot be used */
  readonly lookup: (name: string) => Uint8Array;
  /** Names of those that the environment lacks, of all that were looked up. */
  readonly missing: () => readonly string[];
}

/** The environment's secrets, and random ones in place of those that it lacks. */
export function previewSecrets(context: CommandContext): PreviewSecrets {
  const made = new Map<string, Uint8Array>();
  return {
    lookup(name) {
      if ((context.environment[name] ?? "") !== "") return secretFromEnvironment(context, name);
      const secret = made.get(name) ?? randomBytes(THROW_AWAY_BYTES);
      made.set(name, secret);
      // A copy, since whoever asked may wipe it.
      return Uint8Array.from(secret);
    },
    missing: () => [...made.keys()],
  };
}

/** One line each. */
export function notesOn(spec: PipelineSpec, missing: readonly string[]): string[] {
  const fields = (action: string): string =>
    spec.desensitize
      .filter((rule) => rule.action === action)
      .map(({ field }) => field)
      .join(", ");
  const notes: string[] = [];
  if (missing.length > 0) {
    notes.push(
      `${missing.join(", ")} ${missing.length === 1 ? "is" : "are"} not set: this preview used random keys of its own, so what depends on a key is another text every time`,
    );
  }
  const noisy = fields("perturb");
  if (noisy !== "") {
    notes.push(
      `the noise on ${noisy} depends on a record's place in its topic: in the pipeline it will be another`,
    );
  }
  const clustered = fields("cluster");
  if (clustered !== "") {
    notes.push(
      `what ${clustered} become depends on the other records of their window: in the pipeline it will be another`,
    );
  }
  return notes;
}
