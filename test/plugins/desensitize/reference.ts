/**
 * What the rules mean, in plain JavaScript, written from plugins/desensitize/README.md and not from the guest.
 */
import { createHmac } from "node:crypto";
import { KEYS, type Rules } from "./guest.ts";

/** The schema of a record with these fields and no others. */
export function schemaOf(
  properties: Record<string, unknown>,
  required: readonly string[] = [],
): Rules["schema"] {
  return { type: "object", properties, required, additionalProperties: false };
}

/** A pseudonym under one of KEYS. */
export function hmacHex(key: string, text: string): string {
  return createHmac("sha256", KEYS[key]!).update(text).digest("hex");
}

/** The mask rule in code points. */
export function masked(text: string, keepFirst: number, keepLast: number, mask: string): string {
  const points = [...text];
  if (keepFirst + keepLast >= points.length) return mask.repeat(points.length);
  return points
    .map((point, i) => (i < keepFirst || i >= points.length - keepLast ? point : mask))
    .join("");
}
