/** `sealstream run FILE`: all stages, or one, as supervised processes with live progress. */
import { isSealstreamError, SealstreamError } from "../errors.ts";
import { errorName, isClientTrouble } from "../stream/error-name.ts";
import { planChild } from "./child-plan.ts";
import { type CommandContext, EXIT, loadSpecFiles } from "./context.ts";
import { createDisplay } from "./display.ts";
import {
  countOption,
  hostOption,
  keysFolder,
  type Options,
  portOption,
  stageOption,
} from "./options.ts";
import { requirePrediction, stagesOf } from "./predicted.ts";
import { preflight } from "./preflight.ts";
import { supervise } from "./supervisor.ts";

export async function run(
  context: CommandContext,
  file: string,
  options: Options,
): Promise<number> {
  const stage = stageOption(options);
  const keysRoot = keysFolder(file, options);
  const metricsPort = portOption(options["metricsPort"], "metrics-port");
  const metricsHost = hostOption(options["metricsHost"]);
  const json = options["json"] === true;
  if (options["inProcess"] === true) {
    if (stage === null) {
      throw new SealstreamError("usage", "--in-process needs --stage NAME.");
    }
    const { runOne } = await import("./run-one.ts");
    // A supervised process ends with its supervisor, whose death closes this standard input.
    const supervised = options["supervised"] === true;
    const signal = supervised
      ? AbortSignal.any([context.signal, context.inputEnds()])
      : context.signal;
    const one = {
      file,
      stage,
      instance: countOption(options["instance"], "instance", { least: 0, fallback: 0 }),
      keysRoot,
      metricsPort,
      metricsHost,
      json,
    };
    return orAgain(context, runOne({ ...context, signal }, one));
  }
  const { spec, files } = loadSpecFiles(context, file);
  const instances = countOption(options["instances"], "instances", { least: 1, fallback: 1 });
  if (instances > spec.kafka.partitions) {
    context.tell(
      `warning: ${instances} instances share ${spec.kafka.partitions} lanes: the others stand by`,
    );
  }
  if (stage === "predict") requirePrediction(spec, "There is no stage predict");
  const stages = stage === null ? stagesOf(spec) : [stage];
  await preflight(context, spec, stages, keysRoot);
  const children = stages.flatMap((name) =>
    Array.from({ length: instances }, (_, instance) => ({ name, instance })),
  );
  const plans = children.map((child, index) =>
    planChild(context, spec, {
      ...child,
      keysRoot,
      files,
      metricsHost,
      // Several processes take consecutive ports, in stage order.
      metricsPort: metricsPort === null || metricsPort === 0 ? metricsPort : metricsPort + index,
    }),
  );
  const display = createDisplay(context, json);
  const fine = await supervise(plans, display, context.signal);
  display.close();
  return fine ? EXIT.ok : EXIT.failed;
}

/** What may pass (a broker that died while the stage started) has an exit code of its own: start me again. */
export async function orAgain(
  context: Pick<CommandContext, "signal" | "tell">,
  work: Promise<number>,
): Promise<number> {
  try {
    return await work;
  } catch (error) {
    const mayPass = isSealstreamError(error) ? error.retriable : isClientTrouble(error);
    if (!mayPass) {
      throw error;
    }
    if (context.signal.aborted) {
      // Asked to end while it waited for a broker, for example: it did.
      return EXIT.ok;
    }
    context.tell(
      isSealstreamError(error) ? error.message : `Kafka failed (${errorName(error)}): start again.`,
    );
    return EXIT.again;
  }
}
