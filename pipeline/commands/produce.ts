/** `sealstream produce FILE INPUT`: writes the lines of an NDJSON file to `raw`, with progress. */
import { createReadStream, existsSync } from "node:fs";
import type { Readable } from "node:stream";
import { produceLines } from "../client/produce.ts";
import { SealstreamError } from "../errors.ts";
import { topicsInReach } from "../stream/acls.ts";
import { checkTopics } from "../stream/topics.ts";
import {
  type CommandContext,
  EXIT,
  loadSpec,
  openKafka,
  openLogger,
  STANDARD_INPUT,
} from "./context.ts";

const PROGRESS_EVERY_MS = 1_000;

/** A file, or standard input. @throws SealstreamError `usage` when there is no such file */
export function openInput(input: string): Readable {
  if (input === STANDARD_INPUT) {
    return process.stdin;
  }
  if (!existsSync(input)) {
    throw new SealstreamError("usage", `There is no file ${input}.`);
  }
  return createReadStream(input);
}

export async function produce(
  context: CommandContext,
  file: string,
  input: string,
): Promise<number> {
  const spec = loadSpec(context, file);
  const stream = openInput(input);
  const client = await openKafka(context, spec, openLogger(context, { command: "produce" }), {
    role: "producer",
  });
  const started = context.clock();
  let toldAt = started;
  try {
    await checkTopics(
      client,
      {
        pipeline: spec.name,
        partitions: spec.kafka.partitions,
        replicationFactor: spec.kafka.replicationFactor,
      },
      topicsInReach(spec.name, "producer"),
    );
    const total = await produceLines({
      client,
      spec,
      input: stream,
      signal: context.signal,
      onProgress: (records) => {
        if (context.clock() - toldAt >= PROGRESS_EVERY_MS) {
          toldAt = context.clock();
          context.tell(`${records.toLocaleString("en")} records`);
        }
      },
    });
    const seconds = (context.clock() - started) / 1000;
    context.tell(
      `${total.toLocaleString("en")} records written to ${spec.name}.raw in ${seconds.toFixed(1)} s`,
    );
    return EXIT.ok;
  } finally {
    await client.close();
  }
}
