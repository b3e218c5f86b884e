/** `sealstream predictions FILE`: decrypts predictions as the downstream consumer; NDJSON on standard output. */
import { join } from "node:path";
import {
  createConsumerRefresh,
  readConsumerDirectory,
  readPredictions,
} from "../client/predictions.ts";
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

export async function predictions(
  context: CommandContext,
  file: string,
  options: Options,
): Promise<number> {
  const spec = loadSpec(context, file);
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
    const found = readPredictions({
      client,
      pipeline: spec.name,
      partitions: spec.kafka.partitions,
      classes: spec.features.label.classes,
      directory,
      keys,
      refresh: createConsumerRefresh({ client, pipeline: spec.name, directory, keys }),
      follow: options["follow"] === true,
      signal: context.signal,
      onRefused: ({ lane, offset, reason }) => {
        refused += 1;
        context.tell(`refused a bundle at lane ${lane}, offset ${offset}: ${reason}`);
      },
      onGap: ({ lane, from, to }) => {
        const missing = (to - from).toLocaleString("en");
        context.tell(`lane ${lane}: ${missing} bundles from sequence ${from} on are missing`);
      },
    });
    for await (const prediction of found) {
      count += 1;
      context.print(JSON.stringify(prediction));
    }
    context.tell(`${count.toLocaleString("en")} predictions, ${refused} refused bundles`);
    return refused === 0 ? EXIT.ok : EXIT.failed;
  } finally {
    await client.close();
  }
}
