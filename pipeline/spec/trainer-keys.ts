/**
 * The keys of `train` that say how a model learns: which of them go together, and their checked form.
 *
 * A key that the chosen method or optimizer would not read is refused: nobody should believe in a setting that does
 * nothing. Must not read a file: whether a warm start fits is judged by who has its bytes.
 */
import { dirname, resolve } from "node:path";
import type { PipelineFile } from "../../schemas/pipeline-file.ts";
import type { Complaint } from "./complaint.ts";
import type { LocatedTree } from "./located-tree.ts";
import type { AveragingSpec, OptimizerSpec, ScheduleSpec, TrainSpec } from "./training-spec.ts";

type TrainKeys = PipelineFile["train"];
type Say = (key: string, message: string) => Complaint;

/** Keys that mean nothing where no gradient is taken. */
const OF_GRADIENT = [
  "learningRate",
  "optimizer",
  "momentum",
  "adam",
  "schedule",
  "averaging",
  "initialization",
  "warmStart",
] as const satisfies readonly (keyof TrainKeys)[];

/** A run by statistics has no rate, and every format says one. */
const NO_RATE = 1;

const ADAM = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 } as const;

/** The checked form. @param file absolute path of the pipeline file: paths are relative to it */
export function toTrainer(
  train: TrainKeys,
  file: string,
): Pick<
  TrainSpec,
  | "method"
  | "learningRate"
  | "optimizer"
  | "schedule"
  | "averaging"
  | "initialization"
  | "warmStart"
  | "ridge"
> {
  const { method, warmStart } = train;
  return {
    method,
    learningRate: train.learningRate ?? NO_RATE,
    optimizer: toOptimizer(train),
    schedule: toSchedule(train),
    averaging: toAveraging(train.averaging),
    initialization: train.initialization ?? "he",
    warmStart:
      warmStart === undefined
        ? null
        : { file: resolve(dirname(file), warmStart.file), sha256: warmStart.sha256 },
    ridge: train.ridge ?? 0,
  };
}

function toOptimizer({ optimizer, momentum, adam }: TrainKeys): OptimizerSpec {
  if (optimizer === "adam") return { kind: "adam", ...(adam ?? ADAM) };
  return { kind: "sgd", momentum: momentum ?? 0 };
}

function toSchedule({ schedule }: TrainKeys): ScheduleSpec {
  const { warmupUpdates, decay, updates } = schedule ?? { warmupUpdates: 0, decay: "none" };
  return { warmupUpdates, decay, updates: updates ?? null };
}

function toAveraging(averaging: TrainKeys["averaging"]): AveragingSpec {
  if (averaging === undefined || averaging === "none") return { kind: "none" };
  const { decay, polynomial } = averaging;
  if (decay !== undefined) return { kind: "decay", decay };
  // The check below has refused a file that names neither.
  return polynomial === undefined ? { kind: "none" } : { kind: "polynomial", power: polynomial };
}

/** Everything about these keys that does not fit together. */
export function checkTrainer(file: PipelineFile, tree: LocatedTree): Complaint[] {
  const { train } = file;
  const say: Say = (key, message) => tree.complain(["train", ...key.split(".")], message);
  if (train.method === "statistics") return checkStatistics(file, tree, say);
  const complaints: Complaint[] = [];
  if (train.learningRate === undefined) {
    complaints.push(say("learningRate", "missing; expected a number above 0"));
  }
  if (train.ridge !== undefined) {
    complaints.push(
      tree.complainAboutKey(["train", "ridge"], "only method statistics has a ridge"),
    );
  }
  return [
    ...complaints,
    ...checkOptimizer(train, tree),
    ...checkSchedule(train, say),
    ...checkAveraging(train, say),
    ...checkStart(train, tree, say),
  ];
}

/** The model is the answer of one linear system: one dense layer, and nothing that steers a descent. */
function checkStatistics({ train }: PipelineFile, tree: LocatedTree, say: Say): Complaint[] {
  const unread = OF_GRADIENT.filter((key) => train[key] !== undefined);
  const complaints = unread.map((key) =>
    tree.complainAboutKey(["train", key], `method statistics takes no ${key}: remove it`),
  );
  const layers = train.network.filter((layer) => layer.reshape === undefined);
  if (layers.length !== 1 || layers[0]?.dense === undefined) {
    const message =
      "method statistics solves for one dense layer; expected [{ dense: CLASSES }], and maps under features.maps for what should come before it";
    complaints.push(say("network", message));
  }
  return complaints;
}

function checkOptimizer(train: TrainKeys, tree: LocatedTree): Complaint[] {
  const about = (key: "momentum" | "adam", message: string) =>
    tree.complainAboutKey(["train", key], message);
  const isAdam = train.optimizer === "adam";
  return [
    ...(isAdam && train.momentum !== undefined
      ? [about("momentum", "optimizer adam has no momentum: expected adam.beta1")]
      : []),
    ...(!isAdam && train.adam !== undefined
      ? [about("adam", "expected optimizer: adam beside it")]
      : []),
  ];
}

function checkSchedule({ schedule }: TrainKeys, say: Say): Complaint[] {
  if (schedule === undefined) return [];
  const { decay, updates, warmupUpdates } = schedule;
  const ends = decay === "linear" || decay === "cosine";
  if (!ends && updates !== undefined) {
    return [say("schedule.updates", `decay ${decay} has no end: remove updates`)];
  }
  if (ends && updates === undefined) {
    return [say("schedule", `decay ${decay} needs updates: after how many the rate is 0`)];
  }
  if (updates !== undefined && updates <= warmupUpdates) {
    return [
      say(
        "schedule.updates",
        `expected more than warmupUpdates (${warmupUpdates}), found ${updates}`,
      ),
    ];
  }
  return [];
}

function checkAveraging({ averaging }: TrainKeys, say: Say): Complaint[] {
  const named = typeof averaging === "object" ? Object.keys(averaging) : [""];
  if (named.length === 1) return [];
  const found = named.length === 0 ? "none" : named.join(" and ");
  return [say("averaging", `expected one of decay, polynomial; found ${found}`)];
}

function checkStart(train: TrainKeys, tree: LocatedTree, say: Say): Complaint[] {
  const weighted = train.network.filter(
    (layer) => !Object.keys(layer).some((key) => key === "reshape" || key.endsWith("Pool2d")),
  );
  if (train.initialization !== "zeros") return [];
  if (train.warmStart !== undefined) {
    const message = "zeros and a warm start contradict each other: remove one of them";
    return [tree.complainAboutKey(["train", "initialization"], message)];
  }
  return weighted.length <= 1
    ? []
    : [
        say(
          "initialization",
          "with zeros the units of a hidden layer stay alike for ever: expected he or glorot, or a network of one layer",
        ),
      ];
}
