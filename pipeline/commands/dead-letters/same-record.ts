/** Whether what a letter holds is what lies at the offset that it names. */
import type { StreamRecord } from "../../stream/contract.ts";

export function isSame(a: StreamRecord, b: StreamRecord): boolean {
  const names = Object.keys(a.headers);
  return (
    sameBytes(a.key, b.key) &&
    sameBytes(a.value, b.value) &&
    names.length === Object.keys(b.headers).length &&
    names.every((name) => sameBytes(a.headers[name] ?? null, b.headers[name] ?? null))
  );
}

function sameBytes(a: Uint8Array | null, b: Uint8Array | null): boolean {
  return a === null || b === null ? a === b : Buffer.compare(a, b) === 0;
}
