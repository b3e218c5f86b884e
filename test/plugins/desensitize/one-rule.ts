/**
 * The desensitize plugin with one rule, for a field `v`: what becomes of single values.
 */
import type { DesensitizeRule } from "../../../pipeline/spec/pipeline-spec.ts";
import { type Build, createGuest } from "./guest.ts";
import { schemaOf } from "./reference.ts";

export type Action = DesensitizeRule extends infer R
  ? R extends unknown
    ? Omit<R, "field">
    : never
  : never;

/** What `v` becomes for each of some values written as JSON; a status when the record is refused. */
export function outOf(build: Build, action: Action, texts: readonly string[]): unknown[] {
  const guest = createGuest(build, {
    id: "id",
    schema: schemaOf({ id: { type: "string" }, v: {} }),
    // Because a field and an action make a rule.
    rules: [{ field: "id", action: "keep" }, { field: "v", ...action } as DesensitizeRule],
  });
  return guest(texts.map((text) => `{"id":"x","v":${text}}`)).map((answer) =>
    typeof answer === "string" ? answer : JSON.parse(answer.value).v,
  );
}
