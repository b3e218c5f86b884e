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

/** The key that picks and fakes are made with under one of KEYS. */
export function fakeKey(key: string, use: "pick" | "fake"): Buffer {
  const label = `sealstream desensitize ${use} v1`;
  return createHmac("sha256", KEYS[key]!).update(label).digest();
}

/** A text of the same form. */
export function faked(key: string, text: string): string {
  const derived = fakeKey(key, "fake");
  const seed = createHmac("sha256", derived).update(text).digest();
  let words: number[] = [];
  let block = 0;
  const next = (below: number): number => {
    if (words.length === 0) {
      const counted = Buffer.concat([seed, Buffer.alloc(4)]);
      counted.writeUInt32BE(block++, 32);
      const bytes = createHmac("sha256", derived).update(counted).digest();
      words = Array.from({ length: 8 }, (_, i) => bytes.readUInt32BE(i * 4));
    }
    return words.shift()! % below;
  };
  return [...text]
    .map((one) => {
      if (/[0-9]/.test(one)) return String(next(10));
      if (/[A-Z]/.test(one)) return String.fromCharCode(65 + next(26));
      return /[a-z]|[^\0-\x7f]/u.test(one) ? String.fromCharCode(97 + next(26)) : one;
    })
    .join("");
}
