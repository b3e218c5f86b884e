/** `status` as a person reads it: one screen, numbers that can only be bounds marked as such. Pure. */
import { whomText } from "../ledger/table.ts";
import { type TextColumn, textTable } from "../text-table.ts";
import type { ProcessStand } from "./processes.ts";
import type { RecordCount, StageStand } from "./stages.ts";
import type { TrainingStand } from "./training.ts";

/** Everything that `status` finds, as `--json` prints it. */
export interface StatusReport {
  readonly pipeline: string;
  /** ISO 8601. */
  readonly at: string;
  readonly stages: readonly StageStand[];
  /** Null: the file pins no identities yet, so that no ledger can be believed. */
  readonly ledger: TrainingStand | null;
  /** Bundles in the topic, at most; null where nothing is predicted. */
  readonly predictionBundles: number | null;
  /** Null unless a metrics port was named. */
  readonly processes: readonly ProcessStand[] | null;
}

const count = (value: number): string => value.toLocaleString("en");
const sum = <T>(values: readonly T[], of: (value: T) => number): number =>
  values.reduce((total, value) => total + of(value), 0);
const bounded = ({ records, isExact }: RecordCount): string =>
  `${isExact ? "" : "<= "}${count(records)}`;

const STAGE_COLUMNS: readonly TextColumn<StageStand>[] = [
  ["stage", ({ stage }) => stage, "left"],
  ["group", ({ group }) => group, "left"],
  ["instances", ({ members }) => count(members.length)],
  [
    "lanes owned",
    ({ members, lanes }) =>
      `${sum(members, ({ partitions }) => partitions.length)}/${lanes.length}`,
  ],
  ["committed", ({ lanes }) => count(sum(lanes, ({ committed }) => committed ?? 0))],
  ["lag <=", ({ lanes }) => count(sum(lanes, ({ lag }) => lag))],
  ["dead letters", ({ deadLetters }) => bounded(deadLetters)],
];

const PROCESS_COLUMNS: readonly TextColumn<ProcessStand>[] = [
  ["port", ({ port }) => String(port)],
  ["stage", ({ stage }) => stage, "left"],
  ["ready", readyText, "left"],
  ["train", trainText, "left"],
];

function readyText({ isReady, reason }: ProcessStand): string {
  if (isReady === null) return "no answer";
  return isReady ? "yes" : `no: ${reason}`;
}

function trainText({ backend, validation }: ProcessStand): string {
  const parts = backend === null ? [] : [`backend ${backend}`];
  if (validation !== null && validation.records > 0) {
    const accuracy = ((100 * validation.correct) / validation.records).toFixed(1);
    parts.push(
      `validation ${accuracy} % of ${count(validation.records)}, ${count(validation.driftAlarms)} drift alarms (not covered by epsilon)`,
    );
  }
  return parts.join("; ");
}

/** A time span in the largest unit of which it has two. @param ms >= 0 */
export function ageText(ms: number): string {
  const seconds = Math.floor(ms / 1_000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} days`;
}

function ledgerLines({ pipeline, ledger }: StatusReport): string[] {
  if (ledger === null) {
    return ["model       unknown: the pipeline file pins no zone identities yet"];
  }
  const { model, privacy, training, faults } = ledger;
  const { epsilon, budget, delta, recordsPerSubject } = privacy;
  const progress = {
    "not-begun": "not begun",
    "goes-on": "goes on, as far as the ledger says",
    waits: training.reason,
    ended: `ended: ${training.reason}`,
  };
  return [
    model === null
      ? "model       none yet"
      : `model       run ${model.runId.slice(0, 8)}, version ${model.version}, ${ageText(model.ageMs)} old`,
    `privacy     epsilon ${epsilon.toFixed(4)} of ${budget} at delta ${delta} ${whomText(recordsPerSubject)} of ${pipeline}.raw`,
    `training    ${progress[training.status]}`,
    ...(faults === 0
      ? []
      : [
          `ledger      ${faults} faults: do not rely on it; "sealstream ledger FILE --verify" names them`,
        ]),
  ];
}

export function statusLines(report: StatusReport): string[] {
  const { pipeline, stages, predictionBundles, processes } = report;
  const expired = stages.flatMap(({ stage, lanes }) =>
    lanes
      .filter((lane) => lane.expired > 0)
      .map(
        ({ lane, expired: places }) =>
          `${stage} lane ${lane}: retention removed ${count(places)} places before they were read`,
      ),
  );
  return [
    ...textTable(STAGE_COLUMNS, stages),
    ...expired,
    "",
    ...ledgerLines(report),
    ...(predictionBundles === null
      ? []
      : [`predictions at most ${count(predictionBundles)} bundles lie in ${pipeline}.predictions`]),
    ...(processes === null ? [] : ["", ...textTable(PROCESS_COLUMNS, processes)]),
  ];
}
