/**
 * `sealstream dead-letters replay FILE`: puts refused records back where they were, after the file was mended.
 *
 * Letters of desensitize go back to `raw`, those of encrypt to `desensitized`: into the owner's zone, where they are
 * sealed anew on their way. It runs in the owner's zone too: it needs the key that opens the letters, the encrypt stage's
 * keys, and the secrets of the rules. Letters of the other stages cannot go back; it says what to produce again.
 */
import { join } from "node:path";
import { STAGES, type StageName } from "../../../schemas/topics.ts";
import { readKeys } from "../../client/keys.ts";
import { createKeyDirectory } from "../../crypto/directory.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import { type ReplayableStage, replayTransactionalId } from "../../stream/dead-letter-replay.ts";
import type { KafkaClient, LaneProducer } from "../../stream/port.ts";
import {
  type CommandContext,
  EXIT,
  loadSpec,
  openKafka,
  openLogger,
  trustRoot,
} from "../context.ts";
import { openHolderKeys } from "../key-access.ts";
import { keysFolder, type Options } from "../options.ts";
import { adviseStage } from "./advise.ts";
import { awaitCaughtUp, type EvidenceOptions } from "./evidence.ts";
import { createJudge } from "./judge.ts";
import { attemptsOption, patienceOf, selectionOption } from "./letter-options.ts";
import { deadLetterKeys } from "./open-letter.ts";
import { createReceiptGuard } from "./receipts.ts";
import { type JudgedLetter, replayStage } from "./replay-stage.ts";
import { type Shown, safeJson } from "./text.ts";
import { isGood, VERDICTS, type Verdict } from "./verdicts.ts";

/** What a replay was asked for. */
type Asked = ReturnType<typeof selectionOption>;

interface Run {
  readonly context: CommandContext;
  readonly spec: PipelineSpec;
  readonly client: KafkaClient;
  readonly options: Options;
  readonly keysRoot: string;
  readonly asked: Asked;
  readonly common: EvidenceOptions;
  readonly report: Report;
}

/** Counts verdicts and prints a line for each letter. */
interface Report {
  readonly counts: ReadonlyMap<Verdict, number>;
  add(letter: JudgedLetter & { readonly recordId?: Shown }): void;
}

function createReport(context: CommandContext, json: boolean): Report {
  const counts = new Map<Verdict, number>();
  return {
    counts,
    add({ stage, partition, offset, verdict, reason, recordId = null }) {
      counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
      const letter = `${stage}/${partition}/${offset}`;
      const id = recordId === null ? "" : `  produce ${safeJson(recordId)} again`;
      context.print(
        json
          ? safeJson({ letter, verdict, reason, recordId })
          : `${letter.padEnd(24)}  ${verdict}${reason === null ? "" : ` (${reason})`}${id}`,
      );
    },
  };
}

export async function replay(
  context: CommandContext,
  file: string,
  options: Options,
): Promise<number> {
  const spec = loadSpec(context, file);
  const asked = selectionOption(spec, options);
  const report = createReport(context, options["json"] === true);
  const client = await openKafka(context, spec, openLogger(context, { command: "dead-letters" }), {
    role: "replayer",
  });
  try {
    const common: EvidenceOptions = {
      client,
      pipeline: spec.name,
      partitions: spec.kafka.partitions,
      patienceMs: patienceOf(spec),
      signal: context.signal,
    };
    const keysRoot = keysFolder(file, options);
    const run: Run = { context, spec, client, options, keysRoot, asked, common, report };
    const wanted: readonly StageName[] = asked.stage === null ? STAGES : [asked.stage];
    const replayable = wanted.filter(isReplayable);
    if (replayable.length > 0) await replayOwner(run, replayable);
    for (const stage of wanted.filter((name) => !isReplayable(name))) {
      const onAdvice = (advice: Omit<JudgedLetter, "verdict" | "reason">): void =>
        report.add({ ...advice, verdict: "other-zone", reason: null });
      await adviseStage({ ...common, stage, selection: asked, onAdvice });
    }
    for (const [verdict, count] of report.counts) {
      context.tell(`${String(count).padStart(8)}  ${verdict}: they ${VERDICTS[verdict]}`);
    }
    if (report.counts.size === 0) context.tell("no dead letters of that kind");
    if (context.signal.aborted) context.tell("stopped: there may be more, run it again");
    const isDone = [...report.counts.keys()].every(isGood) && !context.signal.aborted;
    return isDone ? EXIT.ok : EXIT.failed;
  } finally {
    await client.close();
  }
}

function isReplayable(stage: StageName): stage is ReplayableStage {
  return stage === "desensitize" || stage === "encrypt";
}

async function replayOwner(run: Run, stages: readonly ReplayableStage[]): Promise<void> {
  const { context, spec, client, keysRoot, options } = run;
  const ownerKeys = await deadLetterKeys(context, keysRoot, "encrypt");
  const ownerFolder = join(keysRoot, "encrypt");
  const owner = await openHolderKeys(context, ownerFolder, "encrypt");
  const pipeline = spec.name;
  const directory = createKeyDirectory({ pipeline, ...trustRoot(spec), blobPurposes: [] });
  await readKeys({ client, pipeline, directory });
  const guard = createReceiptGuard(directory, owner);
  // A dry run must not end a replay that is at work: it makes no producer, which would fence it.
  const producer: LaneProducer | null =
    options["dryRun"] === true
      ? null
      : await client.createLaneProducer(replayTransactionalId(pipeline));
  const replayedIds = new Set<string>();
  try {
    await awaitCaughtUp(run.common);
    for (const stage of stages) {
      const judge = await createJudge({ context, spec, stage, ownerFolder });
      try {
        await replayStage({
          ...run.common,
          stage,
          selection: run.asked,
          maxAttempts: attemptsOption(options["maxAttempts"]),
          unverified: options["unverified"] === true,
          producer,
          guard,
          ownerKeys,
          judge,
          replayedIds,
          onVerdict: run.report.add,
        });
      } finally {
        await judge.close();
      }
    }
  } finally {
    await producer?.close();
  }
}
