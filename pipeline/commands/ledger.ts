/** `sealstream ledger FILE [--verify]`: what the training has cost in privacy, recomputed from the topics alone. */
import { readLedger } from "../client/ledger.ts";
import type { LedgerVerification } from "../privacy/ledger.ts";
import { methodOf } from "../privacy/ledger-entry.ts";
import {
  type CommandContext,
  EXIT,
  loadSpec,
  openKafka,
  openLogger,
  trustRoot,
} from "./context.ts";
import { epsilonCurve } from "./ledger/curve.ts";
import { ledgerTable, runLines, whomText } from "./ledger/table.ts";
import type { Options } from "./options.ts";

/** What a person sees: every entry, what each run is, and the way that epsilon went. */
export function ledgerReport(
  { entries, summary }: Pick<LedgerVerification, "entries" | "summary">,
  options: { readonly budget: number; readonly columns?: number | undefined },
): string[] {
  const list = entries.map(({ entry }) => entry);
  const curve = epsilonCurve(
    list.map(({ epsilon }) => epsilon),
    options,
  );
  const table = ledgerTable(list);
  return [...table, ...(curve.length === 0 ? [] : ["", ...curve, ""]), ...runLines(summary)];
}

export async function ledger(
  context: CommandContext,
  file: string,
  options: Options,
): Promise<number> {
  const spec = loadSpec(context, file);
  const root = trustRoot(spec);
  const client = await openKafka(context, spec, openLogger(context, { command: "ledger" }), {
    role: "consumer",
  });
  try {
    const { entries, findings, summary } = await readLedger({
      client,
      pipeline: spec.name,
      ...root,
    });
    const { epsilon: budget, delta } = spec.privacy;
    const lines =
      options["json"] === true
        ? entries.map(({ entry }) => JSON.stringify(entry))
        : ledgerReport({ entries, summary }, { budget, columns: context.outputColumns });
    for (const line of lines) context.print(line);
    const { last } = summary;
    const bound = last === null ? null : methodOf(last.entry).recordsPerSubject;
    context.tell(
      `${entries.length} entries, ${summary.runs.length} runs; epsilon ${summary.epsilon.toFixed(4)} of ${budget} at delta ${last?.entry.delta ?? delta} ${whomText(bound)} of ${spec.name}.raw`,
    );
    if (options["verify"] !== true) {
      return EXIT.ok;
    }
    for (const { entry, kind, message } of findings) {
      context.tell(`entry ${entry}: ${kind}: ${message}`);
    }
    context.tell(
      findings.length === 0
        ? "verified: signatures, chain, ranges, sensitivities and epsilon hold; not verifiable from here: that the noise was drawn as the signer says"
        : `${findings.length} faults: do not rely on this ledger`,
    );
    return findings.length === 0 ? EXIT.ok : EXIT.failed;
  } finally {
    await client.close();
  }
}
