/** What an attacker may do to a ledger: every field of an entry edited, forged, signed again, chained anew. */
import { sha256 } from "../../pipeline/crypto/chunks.ts";
import { sign1 } from "../../pipeline/crypto/cose-sign1.ts";
import { hex } from "../../pipeline/crypto/key-handles.ts";
import type { LedgerEntry } from "../../pipeline/privacy/ledger-entry.ts";
import { SIGNER, STRANGER } from "./ledger-world.ts";

/** Every leaf of an entry with another value of the same kind. */
export function edits(entry: LedgerEntry): { path: string; edited: LedgerEntry }[] {
  const found: { path: string; edited: LedgerEntry }[] = [];
  const visit = (value: unknown, path: (string | number)[]) => {
    if (typeof value === "object" && value !== null) {
      for (const [key, child] of Object.entries(value)) visit(child, [...path, key]);
      if (Array.isArray(value) && value.length > 0) found.push(with_(entry, path, value.slice(1)));
      return;
    }
    for (const other of otherValues(value)) found.push(with_(entry, path, other));
  };
  visit(entry, []);
  found.push(with_(entry, ["laneNext", "9"], 5));
  return found;
}

function with_(entry: LedgerEntry, path: (string | number)[], value: unknown) {
  const edited = structuredClone(entry) as unknown as Record<string, unknown>;
  let at = edited;
  for (const key of path.slice(0, -1)) at = at[key] as Record<string, unknown>;
  at[path.at(-1) ?? ""] = value;
  // Because the test writes what it likes; the schema or the rules are to find out.
  return {
    path: `${path.join(".")} = ${JSON.stringify(value)}`,
    edited: edited as unknown as LedgerEntry,
  };
}

function otherValues(value: unknown): unknown[] {
  if (value === null) return ["00".repeat(32)];
  if (typeof value === "number")
    return Number.isInteger(value)
      ? [value + 1, value + 0.5, -1]
      : [value * 1.0001, value * 0.9999];
  const text = String(value);
  const swapped = text.replace(/[0-9a-f](?=[^0-9a-f]*$)/, (digit) => (digit === "1" ? "2" : "1"));
  return [swapped === text ? `${text}x` : swapped, ""];
}

export function resign(entry: LedgerEntry): Uint8Array {
  const payload = Buffer.from(canonical(entry));
  return sign1({ payload, signer: SIGNER, context: "sealstream/ledger/v1|digits" });
}

export function strange(entry: LedgerEntry): Uint8Array {
  const payload = Buffer.from(canonical(entry));
  return sign1({ payload, signer: STRANGER, context: "sealstream/ledger/v1|digits" });
}

/** The old signature over new content; null when the length differs, so that it cannot be put in place. */
export function forge(value: Uint8Array, entry: LedgerEntry): Uint8Array | null {
  const resigned = resign(entry);
  if (resigned.length !== value.length) return null;
  const forged = Uint8Array.from(resigned);
  forged.set(value.subarray(-64), forged.length - 64);
  return forged;
}

/** Sorted keys and plain numbers: canonical for everything that these tests write. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, child]) => `${JSON.stringify(key)}:${canonical(child)}`).join(",")}}`;
}

/** The chain with one entry edited, and all after it signed again under their new hashes. */
export function rechain(
  chain: readonly LedgerEntry[],
  at: number,
  edited: LedgerEntry,
): Uint8Array[] {
  const values: Uint8Array[] = [];
  let previous: string | null = null;
  for (const [index, entry] of chain.entries()) {
    const chained: LedgerEntry =
      index > at ? { ...entry, previous } : index === at ? edited : entry;
    values.push(resign(chained));
    previous = hex(sha256(Buffer.from(canonical(chained))));
  }
  return values;
}
