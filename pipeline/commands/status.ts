/**
 * `sealstream status FILE`: one screen about a pipeline that runs, or does not.
 *
 * From Kafka and the ledger as the operator, without any key; with `--metrics-port` also from the stage processes of
 * this machine. Exits 0 whenever it could look, however bad it looks: `/ready` and `ledger --verify` are for alarms.
 */
import { readLedger } from "../client/ledger.ts";
import { isSealstreamError, SealstreamError } from "../errors.ts";
import type { PipelineSpec } from "../spec/pipeline-spec.ts";
import type { KafkaClient } from "../stream/port.ts";
import { checkTopics } from "../stream/topics.ts";
import {
  type CommandContext,
  EXIT,
  loadSpec,
  openKafka,
  openLogger,
  trustRoot,
} from "./context.ts";
import { countOption, hostOption, type Options, portOption } from "./options.ts";
import { stagesOf } from "./predicted.ts";
import { type ProcessStand, processStands } from "./status/processes.ts";
import { countPredictions, type StageStand, stageStand } from "./status/stages.ts";
import { type StatusReport, statusLines } from "./status/text.ts";
import { type TrainingStand, trainingStand } from "./status/training.ts";

/** Whom to believe, or null while no identities are pinned. */
function pinned(spec: PipelineSpec): ReturnType<typeof trustRoot> | null {
  try {
    return trustRoot(spec);
  } catch (error) {
    if (!isSealstreamError(error, "key-missing")) throw error;
    return null;
  }
}

/** The last port that there is. */
const MAX_PORT = 65_535;

/** Asks the processes that `run` was told to start with the same options; null when no port was named. */
function processesOf(spec: PipelineSpec, options: Options): Promise<ProcessStand[]> | null {
  const port = portOption(options["metricsPort"], "metrics-port");
  const instances = countOption(options["instances"], "instances", { least: 1, fallback: 1 });
  if (port === null) return null;
  const stages = stagesOf(spec);
  if (port === 0 || port + stages.length * instances - 1 > MAX_PORT) {
    throw new SealstreamError(
      "usage",
      '--metrics-port must be the port that "sealstream run" was given; with 0 its processes took any.',
    );
  }
  return processStands({ host: hostOption(options["metricsHost"]), port, stages, instances });
}

/** What Kafka knows. */
export async function kafkaStatus(
  client: KafkaClient,
  spec: PipelineSpec,
  nowMs: number,
): Promise<Omit<StatusReport, "processes">> {
  const { name: pipeline, kafka } = spec;
  const { partitions, replicationFactor } = kafka;
  await checkTopics(client, { pipeline, partitions, replicationFactor });
  const stages: StageStand[] = [];
  for (const stage of stagesOf(spec)) stages.push(await stageStand(client, spec, stage));
  const root = pinned(spec);
  const ledger: TrainingStand | null =
    root === null
      ? null
      : trainingStand(spec, await readLedger({ client, pipeline, ...root }), nowMs);
  const predictionBundles = spec.predict.encrypted ? await countPredictions(client, spec) : null;
  return { pipeline, at: new Date(nowMs).toISOString(), stages, ledger, predictionBundles };
}

export async function status(
  context: CommandContext,
  file: string,
  options: Options,
): Promise<number> {
  const spec = loadSpec(context, file);
  const processes = processesOf(spec, options);
  const client = await openKafka(context, spec, openLogger(context, { command: "status" }));
  try {
    const known = await kafkaStatus(client, spec, context.clock());
    const report: StatusReport = { ...known, processes: (await processes) ?? null };
    const lines = options["json"] === true ? [JSON.stringify(report)] : statusLines(report);
    for (const line of lines) context.print(line);
    return EXIT.ok;
  } finally {
    await client.close();
  }
}
