/**
 * The ledger: a chain of signed entries, and the rules that each one must keep given all before it.
 *
 * One set of rules for everybody: aggregate checks what it is about to write, readers check what they read, and the
 * offline verifier recomputes the same from the topic alone. An entry that is edited, left out, doubled or forked breaks
 * a signature, a hash or one of the rules (ledger-rules.ts). What the topic alone cannot show: that its newest entries
 * were cut off, and a lie by the holder of the signing key that keeps every rule. Must not read Kafka or hold a key.
 */
import type { FindSigner } from "../crypto/cose-sign1.ts";
import { emptyLedger, type LedgerSummary, withEntry } from "./ledger-accounting.ts";
import { decodeLedgerEntry, type HashedEntry } from "./ledger-entry.ts";
import { entryFault, type LedgerFault } from "./ledger-rules.ts";

/** A fault at the n-th value of the topic, counted from 0. */
export interface LedgerFinding extends LedgerFault {
  readonly entry: number;
}

/** What became of a value that was offered to a ledger. */
export type AppliedEntry =
  | ({ readonly status: "ok" } & HashedEntry)
  | { readonly status: "unknown-signer" }
  | { readonly status: "refused"; readonly fault: LedgerFault };

export interface Ledger {
  /** Adds a value if it is the next entry; never throws on bad input. A refused value changes nothing. */
  apply(value: Uint8Array): AppliedEntry;
  /** Accepted entries, oldest first; the same array grows. */
  entries(): readonly HashedEntry[];
  summary(): LedgerSummary;
}

/** A ledger to which values of the topic are offered in order. @param options.findSigner knows model-signing keys only */
export function createLedger(options: {
  readonly pipeline: string;
  readonly findSigner: FindSigner;
}): Ledger {
  const entries: HashedEntry[] = [];
  let summary = emptyLedger(options.pipeline);
  return {
    apply(value) {
      const decoded = decodeLedgerEntry(value, options);
      if (decoded.status === "refused") {
        if (decoded.reason === "unknown-signer") return { status: "unknown-signer" };
        return { status: "refused", fault: decodeFault(decoded.reason) };
      }
      const { entry, entryHash } = decoded;
      const fault = entryFault(summary, entry);
      if (fault !== null) return { status: "refused", fault };
      entries.push({ entry, entryHash });
      summary = withEntry(summary, { entry, entryHash });
      return { status: "ok", entry, entryHash };
    },
    entries: () => entries,
    summary: () => summary,
  };
}

function decodeFault(reason: "malformed" | "unknown-signer" | "bad-signature"): LedgerFault {
  switch (reason) {
    case "malformed":
      return { kind: "malformed", message: "Not a ledger entry of this pipeline." };
    case "unknown-signer":
      return { kind: "signature", message: "Signed by a key that no pinned identity vouches for." };
    case "bad-signature":
      return { kind: "signature", message: "The entry was changed after it was signed." };
  }
}

/** What an offline check found. */
export interface LedgerVerification {
  /** Values whose signature and form are good, with or without other faults. */
  readonly entries: readonly HashedEntry[];
  /** Empty when every value is an entry in its place that keeps every rule. */
  readonly findings: readonly LedgerFinding[];
  /** Over the entries that are good. */
  readonly summary: LedgerSummary;
}

/**
 * Recomputes a whole ledger from the values of its topic, oldest first.
 * @param options.findSigner knows the pipeline's model-signing keys only
 */
export function verifyLedger(
  values: readonly Uint8Array[],
  options: { readonly pipeline: string; readonly findSigner: FindSigner },
): LedgerVerification {
  const entries: HashedEntry[] = [];
  const findings: LedgerFinding[] = [];
  let summary = emptyLedger(options.pipeline);
  for (const [index, value] of values.entries()) {
    const decoded = decodeLedgerEntry(value, options);
    if (decoded.status === "refused") {
      findings.push({ entry: index, ...decodeFault(decoded.reason) });
      continue;
    }
    const { entry, entryHash } = decoded;
    const fault = entryFault(summary, entry);
    if (fault !== null) findings.push({ entry: index, ...fault });
    entries.push({ entry, entryHash });
    // Goes on from the faulty entry, or one edit would make a finding of every entry after it. A second entry for
    // the same place does not replace the first.
    const second = fault?.kind === "fork" && entry.sequence <= (summary.last?.entry.sequence ?? -1);
    if (!second) summary = withEntry(summary, { entry, entryHash });
  }
  return { entries, findings, summary };
}
