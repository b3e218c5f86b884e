/** What `check` and `preview` call a rule of the pipeline file. */
import type { DesensitizeRule } from "../spec/pipeline-spec.ts";

/** A rule in a few words. */
export function ruleText(rule: DesensitizeRule): string {
  switch (rule.action) {
    case "mask": {
      const first = rule.keepFirst > 0 ? ` first ${rule.keepFirst}` : "";
      const last = rule.keepLast > 0 ? ` last ${rule.keepLast}` : "";
      return first + last === "" ? "mask" : `mask but${first}${last}`;
    }
    case "generalize": {
      const { to } = rule;
      if ("width" in to) return `generalize by ${to.width}`;
      if ("bounds" in to) return "generalize to bounds";
      if ("date" in to) return `generalize to ${to.date}`;
      return "prefix" in to ? `generalize to ${to.prefix} first` : "generalize by table";
    }
    case "pick":
      return `replace from ${rule.from.length}`;
    case "fake":
      return "replace by form";
    case "perturb":
      return `perturb by ${rule.scale}`;
    default:
      return rule.action;
  }
}
