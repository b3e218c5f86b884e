/**
 * `sealstream dead-letters show FILE STAGE/PARTITION/OFFSET`: opens one letter with its zone's own key.
 *
 * Prints the record as JSON: text where it is UTF-8, else base64, without a character that a terminal acts on. It is the
 * only place that shows a refused record, and it shows it to nobody but the holder of the key.
 */
import { SealstreamError } from "../../errors.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import type { StreamRecord } from "../../stream/contract.ts";
import { type LetterHeaders, readLetterHeaders } from "../../stream/dead-letter.ts";
import { deadNames, isReceipt, readThrough } from "../../stream/dead-letter-replay.ts";
import type { KafkaClient } from "../../stream/port.ts";
import { type CommandContext, EXIT, loadSpec, openKafka, openLogger } from "../context.ts";
import { keysFolder, type Options } from "../options.ts";
import { deadPartitions } from "./advise.ts";
import { type LetterName, letterName, patienceOf } from "./letter-options.ts";
import { deadLetterKey, type OpenedLetter, openLetter, type PartDigest } from "./open-letter.ts";
import { isoTime, safeJson, shown } from "./text.ts";

export async function show(
  context: CommandContext,
  file: string,
  word: string | undefined,
  options: Options,
): Promise<number> {
  const spec = loadSpec(context, file);
  const name = letterName(word);
  const { stage, partition } = name;
  if (partition >= deadPartitions(stage, spec.kafka.partitions)) {
    throw new SealstreamError("usage", `${stage} has no partition ${partition}.`);
  }
  const key = await deadLetterKey(context, keysFolder(file, options), stage);
  const { input } = deadNames({ pipeline: spec.name, stage });
  const client = await openKafka(context, spec, openLogger(context, { command: "dead-letters" }));
  try {
    const letter = await findLetter(client, spec, name);
    if (letter === null) {
      context.tell(
        `There is no dead letter ${letterWord(name)}: it may have expired; see "dead-letters list".`,
      );
      return EXIT.failed;
    }
    const headers = readLetterHeaders(letter.headers, { stage, topic: input, partition });
    const opened =
      headers === null
        ? null
        : openLetter({ pipeline: spec.name, headers, value: letter.value, key });
    if (headers === null || opened === null || opened.status === "refused") {
      throw new SealstreamError(
        "envelope-refused",
        `Letter ${letterWord(name)} does not open: it was edited, moved here from another place, or sealed to another key than this one.`,
      );
    }
    context.print(
      safeJson(printable(letterWord(name), headers, opened), options["json"] === true ? 0 : 2),
    );
    return EXIT.ok;
  } finally {
    await client.close();
  }
}

function letterWord({ stage, partition, offset }: LetterName): string {
  return `${stage}/${partition}/${offset}`;
}

async function findLetter(
  client: KafkaClient,
  spec: PipelineSpec,
  name: LetterName,
): Promise<StreamRecord | null> {
  const { stage, partition, offset } = name;
  const found: StreamRecord[] = [];
  await readThrough({
    client,
    topic: deadNames({ pipeline: spec.name, stage }).dead,
    partition,
    from: offset,
    to: offset + 1,
    patienceMs: patienceOf(spec),
    apply: (record) => {
      if (record.offset === offset) found.push(record);
      return undefined;
    },
  });
  const [letter] = found;
  return letter === undefined || isReceipt(letter) ? null : letter;
}

function printable(
  letter: string,
  { topic, partition, offset }: LetterHeaders,
  opened: Exclude<OpenedLetter, { readonly status: "refused" }>,
) {
  const common = { letter, source: { topic, partition, offset }, reason: opened.reason };
  if (opened.status === "digest") {
    return {
      ...common,
      timestamp: isoTime(opened.timestampMs),
      tooLarge: `The record is too large for a letter: it lies in ${topic}, partition ${partition}, at offset ${offset}.`,
      key: digest(opened.key),
      value: digest(opened.value),
    };
  }
  const { timestampMs, key, headers, value } = opened.record;
  return {
    ...common,
    timestamp: isoTime(timestampMs),
    key: shown(key),
    headers: Object.entries(headers).map(([name, bytes]) => ({ name, value: shown(bytes) })),
    value: shown(value),
  };
}

function digest(part: PartDigest | null): { bytes: number; sha256: string } | null {
  return part && { bytes: part.bytes, sha256: Buffer.from(part.sha256).toString("hex") };
}
