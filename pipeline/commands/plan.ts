/**
 * `sealstream plan FILE [--json]`: how the predictions of a pipeline file would be computed on ciphertexts, and why so.
 *
 * Reads the file alone: no keys, no Kafka, no CKKS library. A file that cannot be predicted is refused with its line,
 * as `check` does it.
 */
import { planPredict } from "../ckks/predict-plan.ts";
import { formatComplaint } from "../spec/complaint.ts";
import { type CommandContext, EXIT } from "./context.ts";
import type { Options } from "./options.ts";
import { planComplaints, planWarnings } from "./plan/judge.ts";
import { loadLocated } from "./plan/load-located.ts";
import { planReport, unpredictedReport } from "./plan/report.ts";
import { nearestRefusals, planText, refusalText } from "./plan/text.ts";
import { NOT_PREDICTED } from "./predicted.ts";

export async function plan(
  context: CommandContext,
  file: string,
  options: Options,
): Promise<number> {
  const { spec, locate } = loadLocated(context, file);
  if (!spec.predict.encrypted) {
    const report = unpredictedReport(spec);
    context.print(
      options["json"] === true ? JSON.stringify(report) : `prediction  ${NOT_PREDICTED}`,
    );
    return EXIT.ok;
  }
  const outcome = planPredict(spec);
  if (options["json"] === true) {
    context.print(JSON.stringify(planReport(spec, outcome)));
  } else if (outcome.status === "ok") {
    for (const line of planText(spec, outcome.plan, context.outputColumns)) context.print(line);
  } else {
    const lines = refusalText(nearestRefusals(outcome.refusals), context.outputColumns);
    for (const line of lines) context.tell(line);
  }
  for (const complaint of planComplaints(outcome, locate)) context.tell(formatComplaint(complaint));
  for (const warning of planWarnings(spec, outcome, locate)) {
    context.tell(`warning: ${formatComplaint(warning)}`);
  }
  return outcome.status === "ok" ? EXIT.ok : EXIT.invalid;
}
