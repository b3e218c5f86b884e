/**
 * `sealstream keys rotate FILE PURPOSE`: a key's next generation, while stages run.
 *
 * The key file is on the disk before the entry is published, so that a stage that sees the entry finds the key. What was
 * cut off in between is finished by the next call: it publishes what is in the folder instead of making yet another key.
 */
import { join } from "node:path";
import { createConsumerKeys } from "../../ckks/keys.ts";
import { predictParameters } from "../../ckks/predict-plan.ts";
import { readLedger } from "../../client/ledger.ts";
import { ckksSecretFile, createFreshKey } from "../../crypto/key-ceremony.ts";
import { publicHalfOf } from "../../crypto/key-ceremony-halves.ts";
import { sealedTopics, topicsFor } from "../../crypto/key-ceremony-renew.ts";
import { type KeyFile, keyFileName } from "../../crypto/key-file.ts";
import {
  isPurpose,
  isSealedTopic,
  isUnwrap,
  PURPOSES,
  type Purpose,
  type SealedTopic,
  type SecretPurpose,
} from "../../crypto/key-purposes.ts";
import { SealstreamError } from "../../errors.ts";
import { networkFromSpec } from "../../network/from-spec.ts";
import { runConfigHash } from "../../privacy/run-config.ts";
import { type CommandContext, EXIT, trustRoot } from "../context.ts";
import type { Options } from "../options.ts";
import { requirePrediction } from "../predicted.ts";
import { type Ceremony, identityOf, withCeremonies, withCeremony } from "./ceremony.ts";
import { missingEntries, newestFile, publishedGeneration, unpublished } from "./publish-missing.ts";
import { publishAndCatchUp, rewraps } from "./rewrap.ts";
import { rotateIdentity } from "./rotate-identity.ts";
import { writeSealed } from "./seal-option.ts";

export function rotate(
  context: CommandContext,
  file: string,
  ...[what, options]: [string | undefined, Options]
): Promise<number> {
  if (what === "identity") return rotateIdentity(context, file, options);
  if (what === "data-keys") return renewDataKeys(context, file, options);
  const purpose = what === "ckks" ? "ckks-secret" : what;
  if (purpose === undefined || !isPurpose(purpose) || PURPOSES[purpose].holder === "identities") {
    const known = Object.keys(PURPOSES).filter((one) => !one.endsWith("-identity"));
    throw new SealstreamError(
      "usage",
      `Say which key is to be rotated: identity, ${[...known, "ckks", "data-keys"].join(", ")}.`,
    );
  }
  if (purpose === "noise" || purpose === "split") {
    return rotateSecret(context, file, { purpose, options });
  }
  return withCeremonies(context, { file, options }, async (open) => {
    const before = await open();
    if (purpose === "ckks-secret") requirePrediction(before.spec, "There are no CKKS keys");
    identityOf(before, PURPOSES[purpose].zone);
    const [waiting] = unpublished(before, [purpose]);
    if (waiting === undefined) {
      const made = await nextKey(before, purpose);
      await writeSealed(before, [made], options["seal"]);
    } else {
      context.tell(
        `generation ${waiting.generation} of ${purpose} is in the folder and not published yet: publishing it`,
      );
    }
    return publishNext(waiting === undefined ? await open() : before, purpose);
  });
}

async function publishNext(ceremony: Ceremony, purpose: Purpose): Promise<number> {
  const { context, directory, root } = ceremony;
  const entries = await missingEntries(ceremony, [purpose]);
  const topics = isUnwrap(purpose) ? topicsFor(purpose) : [];
  // So that the data keys are wrapped for the new key, and both are published at once.
  for (const { key, value } of entries) directory.apply(key, value);
  const rewrapped = await rewraps(ceremony, { topics });
  const late = await publishAndCatchUp(ceremony, [...entries, ...rewrapped], { topics });
  const { holder } = PURPOSES[purpose];
  const generation = newestFile(ceremony.files, purpose)?.generation;
  context.print(
    `${purpose} is of generation ${generation} now; ${rewrapped.length + late} data keys wrapped anew`,
  );
  context.tell(
    `A running ${holder} takes it up when ${root}/${holder} is its folder; elsewhere, copy the new file there first. ${oldKeyAdvice(purpose)}`,
  );
  return EXIT.ok;
}

function oldKeyAdvice(purpose: Purpose): string {
  if (purpose === "ckks-secret" || purpose === "consumer-unwrap") {
    return "Keep the old key for as long as predictions under it are to be read.";
  }
  if (PURPOSES[purpose].holder === "dead-letters") {
    return "The old key still opens the letters that were sealed to it.";
  }
  return isUnwrap(purpose)
    ? "The old key can be put away when every data key is wrapped anew (keys list)."
    : "What the old key signed stays valid until it is revoked (keys revoke).";
}

function nextGeneration({ directory, files }: Ceremony, purpose: Purpose): number {
  const published = publishedGeneration(directory.list(), purpose);
  return Math.max(published, newestFile(files, purpose)?.generation ?? 0) + 1;
}

/**
 * The next key, of the kind of the one before.
 * @throws `key-forbidden` after a key in a service, unless a seal is named
 */
async function nextKey(ceremony: Ceremony, purpose: Purpose): Promise<KeyFile> {
  const generation = nextGeneration(ceremony, purpose);
  if (PURPOSES[purpose].kind === "ckks-secret") {
    const { secretKey } = await createConsumerKeys(predictParameters(ceremony.spec));
    const file = ckksSecretFile(secretKey, generation);
    secretKey.fill(0);
    return file;
  }
  const before = keyBefore(ceremony, purpose);
  if (before?.algorithm !== "kms") return createFreshKey(purpose, generation, before);
  if (ceremony.options["seal"] !== undefined) return createFreshKey(purpose, generation);
  throw inService(ceremony, purpose, generation);
}

/** The key that is replaced: the newest in the folder, else the one that is published. */
function keyBefore({ directory, files }: Ceremony, purpose: Purpose) {
  const newest = newestFile(files, purpose);
  if (newest !== null) return publicHalfOf(newest);
  return isUnwrap(purpose) ? directory.recipient(purpose) : null;
}

function inService({ root }: Ceremony, purpose: Purpose, generation: number): SealstreamError {
  const path = join(root, PURPOSES[purpose].holder, keyFileName(purpose, generation));
  return new SealstreamError(
    "key-forbidden",
    `${purpose} is a key in a service, and an open one in a file would protect less: make the next key there, write ${path} of kind kms with its URI and run this again, or name --seal for a key that is sealed in its file.`,
  );
}

/** A secret of one stage, which nobody else hears of. */
function rotateSecret(
  context: CommandContext,
  file: string,
  { purpose, options }: { readonly purpose: SecretPurpose; readonly options: Options },
): Promise<number> {
  return withCeremony(context, { file, options }, async (ceremony) => {
    if (purpose === "noise" && (await isRunUnderWay(ceremony))) throw noiseStays();
    const { recordsPerSubject } = ceremony.spec.privacy;
    if (purpose === "split" && recordsPerSubject !== null) throw splitStays();
    const generation = nextGeneration(ceremony, purpose);
    await writeSealed(ceremony, [createFreshKey(purpose, generation)], options["seal"]);
    context.print(`${purpose} is of generation ${generation} now`);
    context.tell(
      purpose === "noise"
        ? "aggregate takes it up at its next start, with the new run."
        : "From encrypt's next start on, a person may change between train, validate and test: figures of before and after are not of the same split.",
    );
    return EXIT.ok;
  });
}

/** Whether the newest run of the ledger is the one that the file describes; in doubt, it is. */
async function isRunUnderWay({ client, spec }: Ceremony): Promise<boolean> {
  const { entries, findings } = await readLedger({
    client,
    pipeline: spec.name,
    ...trustRoot(spec),
  });
  if (findings.length > 0) return true;
  const newest = entries.at(-1);
  if (newest === undefined) return false;
  const network = networkFromSpec(spec.features, spec.train);
  return newest.entry.configHash === runConfigHash({ spec, network });
}

/** Data keys rotate by themselves; what a person can do is give the old ones to the keys of now. */
function renewDataKeys(context: CommandContext, file: string, options: Options): Promise<number> {
  const topics = topicsOption(options["topic"]);
  return withCeremony(context, { file, options }, async (ceremony) => {
    context.tell(
      "Data keys need no rotation by hand: stages make new ones by count and age, and whenever the recipients change.",
    );
    const entries = await rewraps(ceremony, { topics });
    const late = await publishAndCatchUp(ceremony, entries, { topics });
    context.print(`${entries.length + late} data keys wrapped anew for the keys of now`);
    return EXIT.ok;
  });
}

function topicsOption(value: unknown): readonly SealedTopic[] {
  if (value === undefined) return sealedTopics();
  if (typeof value === "string" && isSealedTopic(value)) return [value];
  throw new SealstreamError(
    "usage",
    `There is no sealed topic "${String(value)}": there are ${sealedTopics().join(", ")}.`,
  );
}

function splitStays(): SealstreamError {
  return new SealstreamError(
    "key-forbidden",
    "split is not rotated while privacy.recordsPerSubject stands in the file: encrypt keeps its counts under it, and would begin to count everybody anew. Give the pipeline a new name for a new generation: there it can be.",
  );
}

function noiseStays(): SealstreamError {
  return new SealstreamError(
    "key-forbidden",
    "noise is not rotated: a step that is tried again must draw the same noise, or the privacy bound is spent twice. Change the train section first, which starts a new run in the same ledger: then it can be.",
  );
}
