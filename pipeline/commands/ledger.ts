/** `sealstream ledger FILE [--verify]`: what the training has cost in privacy, recomputed from the topics alone. */
import { readLedger } from "../client/ledger.ts";
import type { LedgerEntry } from "../privacy/ledger-entry.ts";
import {
  type CommandContext,
  EXIT,
  loadSpec,
  openKafka,
  openLogger,
  trustRoot,
} from "./context.ts";
import type { Options } from "./options.ts";

function row(entry: LedgerEntry): string {
  const places = entry.ranges.reduce((sum, range) => sum + range.places, 0);
  return [
    String(entry.sequence).padStart(6),
    entry.kind.padEnd(8),
    entry.runId.slice(0, 8),
    `model ${entry.modelVersion}`.padEnd(12),
    `${places} places`.padStart(12),
    `noise ${entry.noiseMultiplier.toFixed(3)}`.padStart(13),
    `epsilon ${entry.epsilon.toFixed(4)}`.padStart(16),
    entry.at,
  ].join("  ");
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
    for (const { entry } of entries) {
      context.print(options["json"] === true ? JSON.stringify(entry) : row(entry));
    }
    context.tell(
      `${entries.length} entries, ${summary.runs.length} runs; epsilon ${summary.epsilon.toFixed(4)} at delta ${spec.privacy.delta} for each record of ${spec.name}.raw`,
    );
    if (options["verify"] !== true) {
      return EXIT.ok;
    }
    for (const { entry, kind, message } of findings) {
      context.tell(`entry ${entry}: ${kind}: ${message}`);
    }
    context.tell(
      findings.length === 0
        ? "verified: signatures, chain, ranges and epsilon hold"
        : `${findings.length} faults: do not rely on this ledger`,
    );
    return findings.length === 0 ? EXIT.ok : EXIT.failed;
  } finally {
    await client.close();
  }
}
