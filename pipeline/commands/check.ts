/**
 * `sealstream check FILE`: every complaint about a pipeline file with line and path, or what the file does.
 *
 * Warnings are about files that work but protect less than they might; `--strict` ends with 1 when there is one.
 */
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { type PlanOutcome, planPredict } from "../ckks/predict-plan.ts";
import type { Complaint } from "../spec/complaint.ts";
import { mapText } from "../spec/feature-maps.ts";
import { loadPipelineSpec } from "../spec/load.ts";
import { layerText } from "../spec/network-layers.ts";
import type { PipelineSpec } from "../spec/pipeline-spec.ts";
import { wasmPath } from "../wasm/locate.ts";
import { type CommandContext, complaintLine, EXIT } from "./context.ts";
import type { Options } from "./options.ts";
import { planComplaints, planWarnings } from "./plan/judge.ts";
import { amount } from "./plan/units.ts";
import { NOT_PREDICTED } from "./predicted.ts";
import { accountingText, privacyComplaints, privacyText } from "./privacy-complaints.ts";
import { ruleText } from "./rule-text.ts";
import { trainingComplaints, trainingText } from "./training-judge.ts";

function summary(spec: PipelineSpec, outcome: PlanOutcome | null): string[] {
  const actions = spec.desensitize.map((rule) => `${rule.field}: ${ruleText(rule)}`);
  const layers = spec.train.network.map(layerText);
  const inputs = spec.features.inputs.reduce((sum, { length }) => sum + length, 0);
  const { length: features } = spec.features.outputs;
  const plugins = spec.plugins.map(
    ({ module, sha256 }) => `${basename(module)} (sha256 ${sha256.slice(0, 8)}...)`,
  );
  return [
    `pipeline    ${spec.name}, ${spec.kafka.partitions} lanes`,
    ...(plugins.length === 0 ? [] : [`plugins     ${plugins.join(", then ")}, before the rules`]),
    `desensitize ${actions.join(", ")}`,
    `features    ${inputs} numbers; label ${spec.features.label.field}, ${spec.features.label.classes} classes`,
    ...mapsText(spec),
    ...recordsText(spec),
    `network     ${[features, ...layers].join(" -> ")}`,
    `privacy     ${privacyText(spec)}`,
    `accounting  ${accountingText(spec)}`,
    ...trainingText(spec),
    ...predictionText(outcome),
    `zones       ${spec.zones === null ? 'none pinned yet: run "sealstream keys create" before "run"' : "pinned"}`,
  ];
}

/** The chain of maps and what it gives the network. */
function mapsText({ features: { maps, outputs } }: PipelineSpec): string[] {
  if (maps.length === 0) return [];
  const [low, high] = outputs.range.map((edge) => Number(edge.toPrecision(3)));
  return [
    `maps        ${maps.map(mapText).join(", then ")}: ${outputs.length} numbers in [${low}, ${high}]`,
  ];
}

function predictionText(outcome: PlanOutcome | null): string[] {
  if (outcome === null) return [`prediction  ${NOT_PREDICTED}`];
  if (outcome.status !== "ok") return [];
  const { name, parameters, packing, bytesPerRecordIn, mode } = outcome.plan;
  return [
    `prediction  ${name} (${parameters.id}), ${packing}, ${mode} model: about ${amount(bytesPerRecordIn.whenFull)} bytes a record in full packs; "sealstream plan" says why`,
  ];
}

/** Who gets which field of `encrypt.records`. */
function recordsText({ encrypt: { records } }: PipelineSpec): string[] {
  if (records === null) {
    return [];
  }
  const clear = records.clear.length === 0 ? [] : [`${records.clear.join(", ")} in clear`];
  const sealed = records.sealed.map(
    (group) => `${group.fields.join(", ")} sealed for ${group.for.join(", ")}`,
  );
  return [`records     ${[...clear, ...sealed].join("; ")}; no other field`];
}

/** A plugin of this package, or null when it is not built. */
function readBuiltIn(name: string): Uint8Array | null {
  try {
    return readFileSync(wasmPath(name));
  } catch {
    // Because every reason not to read it has the same remedy, which the complaint names.
    return null;
  }
}

export async function check(
  context: CommandContext,
  file: string,
  options: Options,
): Promise<number> {
  const result = loadPipelineSpec({
    path: file,
    readFile: readFileSync,
    env: context.environment,
    readBuiltIn,
  });
  const isPredicted = result.status === "ok" && result.spec.predict.encrypted;
  const outcome = isPredicted ? planPredict(result.spec) : null;
  const complaints = result.status === "invalid" ? [...result.complaints] : [];
  const warnings: Complaint[] = [];
  if (result.status === "ok") {
    complaints.push(...trainingComplaints(result.spec, result.locate));
    complaints.push(...privacyComplaints(result.spec, result.locate));
    warnings.push(...result.warnings);
  }
  if (result.status === "ok" && outcome !== null) {
    complaints.push(...planComplaints(outcome, result.locate));
    warnings.push(...planWarnings(result.spec, outcome, result.locate));
  }
  if (options["json"] === true) {
    context.print(JSON.stringify({ valid: complaints.length === 0, complaints, warnings }));
  } else {
    for (const complaint of complaints) {
      context.tell(complaintLine(complaint));
    }
    for (const warning of warnings) {
      context.tell(`warning: ${complaintLine(warning)}`);
    }
    if (complaints.length === 0 && result.status === "ok") {
      for (const line of summary(result.spec, outcome)) {
        context.print(line);
      }
    }
  }
  if (complaints.length > 0) {
    return EXIT.invalid;
  }
  return options["strict"] === true && warnings.length > 0 ? EXIT.failed : EXIT.ok;
}
