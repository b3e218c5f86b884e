/**
 * Who can open the sealed fields of topic `records` now: the grants that `keys` has, and the owner's recovery key.
 *
 * A name that was never granted makes records wait: a typing error must not seal them for nobody. A name that was
 * revoked does not: what is sealed from then on is for the others.
 */
import type { KeyDirectory } from "../../crypto/directory.ts";
import { hex } from "../../crypto/key-handles.ts";
import type { Recipient } from "../../crypto/wrap/types.ts";
import type { RecordFieldsSpec } from "../../spec/pipeline-spec.ts";

/** What is asked of the view of `keys`. */
export type GrantView = Pick<KeyDirectory, "recipient" | "grants" | "list">;

export interface RecordAudiences {
  /** Names for which records wait, sorted. */
  readonly missing: readonly string[];
  /** By {@link audienceName}: whom its data keys are wrapped for, each once, in the order of the names. */
  readonly recipients: ReadonlyMap<string, readonly Recipient[]>;
}

/** What an audience is called in a lane's state. */
export function audienceName(audience: readonly string[]): string {
  return audience.join(",");
}

/** Everybody for whom the file seals fields. */
export function audiencesOf({ sealed }: RecordFieldsSpec, view: GrantView): RecordAudiences {
  const grants = Map.groupBy(view.grants("records"), ({ name }) => name);
  const recovery = view.recipient("owner-recovery");
  const missing = new Set<string>();
  const recipients = new Map<string, readonly Recipient[]>();
  for (const { for: audience } of sealed) {
    const own = audience.flatMap((name) => (grants.get(name) ?? []).map((one) => one.recipient));
    const all = recovery === null ? own : [recovery, ...own];
    for (const name of audience) {
      // Without any recipient there is no data key.
      const isKnown = grants.has(name) || hadGrant(view, name);
      if (!isKnown || all.length === 0) missing.add(name);
    }
    const once = new Map(all.map((recipient) => [hex(recipient.kid), recipient]));
    recipients.set(audienceName(audience), [...once.values()]);
  }
  return { missing: [...missing].sort(), recipients };
}

/** Whether a name had a grant that was revoked. */
function hadGrant(view: GrantView, name: string): boolean {
  return view
    .list()
    .recipients.some(({ of }) => "topic" in of && of.topic === "records" && of.name === name);
}
