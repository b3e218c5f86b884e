/**
 * `sealstream predictions FILE`: decrypts predictions as the downstream consumer; NDJSON on standard output.
 *
 * Scores are rounded as the client library rounds them; `--group` goes on where the last call with that name stopped.
 */
import { join } from "node:path";
import { consumePredictions } from "../client/consume.ts";
import type { RefusedBundle, SequenceGap } from "../client/prediction-lane.ts";
import {
  createConsumerRefresh,
  type Prediction,
  readConsumerDirectory,
  readPredictionBatches,
} from "../client/predictions.ts";
import { SealstreamError } from "../errors.ts";
import {
  type CommandContext,
  EXIT,
  loadSpec,
  openKafka,
  openLogger,
  trustRoot,
} from "./context.ts";
import { openHolderKeys } from "./key-access.ts";
import { keysFolder, type Options } from "./options.ts";
import { requirePrediction } from "./predicted.ts";

export async function predictions(
  context: CommandContext,
  file: string,
  options: Options,
): Promise<number> {
  const spec = loadSpec(context, file);
  requirePrediction(spec, "There are no predictions");
  const root = trustRoot(spec);
  const folder = join(keysFolder(file, options), "consumer");
  const keys = await openHolderKeys(context, folder, "consumer");
  const client = await openKafka(context, spec, openLogger(context, { command: "predictions" }), {
    role: "consumer",
  });
  try {
    const directory = await readConsumerDirectory({ client, pipeline: spec.name, ...root });
    let count = 0;
    let refused = 0;
    const { group, ...scores } = readingOptions(options);
    const reading = {
      ...scores,
      client,
      pipeline: spec.name,
      partitions: spec.kafka.partitions,
      classes: spec.features.label.classes,
      directory,
      keys,
      refresh: createConsumerRefresh({ client, pipeline: spec.name, directory, keys }),
      follow: options["follow"] === true,
      signal: context.signal,
      onRefused: ({ lane, offset, reason }: RefusedBundle) => {
        refused += 1;
        context.tell(`refused a bundle at lane ${lane}, offset ${offset}: ${reason}`);
      },
      onGap: ({ lane, from, to }: SequenceGap) => {
        const missing = (to - from).toLocaleString("en");
        context.tell(`lane ${lane}: ${missing} bundles from sequence ${from} on are missing`);
      },
    };
    const found =
      group === null ? readPredictionBatches(reading) : consumePredictions({ ...reading, group });
    const print = printed(options["labels"] === true);
    for await (const { predictions: batch } of found) {
      count += batch.length;
      for (const prediction of batch) context.print(print(prediction));
    }
    context.tell(`${count.toLocaleString("en")} predictions, ${refused} refused bundles`);
    return refused === 0 ? EXIT.ok : EXIT.failed;
  } finally {
    await client.close();
  }
}

/** What `--group` and the options about scores say. @throws SealstreamError `usage` */
function readingOptions(options: Options) {
  const { group, scoreBits } = options;
  const bits = scoreBits === undefined ? undefined : Number(scoreBits);
  if (bits !== undefined && !(Number.isInteger(bits) && Math.abs(bits) <= 52)) {
    throw new SealstreamError("usage", "--score-bits must be a whole number from -52 to 52.");
  }
  const unrounded = options["unroundedScoresRiskTheSecretKey"] === true;
  if (unrounded && bits !== undefined) {
    throw new SealstreamError(
      "usage",
      "--score-bits rounds scores and --unrounded-scores-risk-the-secret-key does not: say one of them.",
    );
  }
  return {
    group: typeof group === "string" || typeof group === "number" ? String(group) : null,
    scoreBits: bits,
    unroundedScoresRiskTheSecretKey: unrounded,
  };
}

function printed(onlyLabels: boolean): (prediction: Prediction) => string {
  return onlyLabels
    ? ({ recordId, label }) => JSON.stringify({ recordId, label })
    : (prediction) => JSON.stringify(prediction);
}
