/**
 * What `perturb` adds, for the fuzz: HMAC-SHA-256 of the record's position and bounded noise in doubles, written from
 * plugins/desensitize/README.md and plugins/desensitize/assembly/noise.ts's own words.
 *
 * exp and log may differ in the last bit between engines, so that results are compared to within one unit of the last
 * decimal; values too near a limit for that are left to the comparison of builds.
 */
import type { Action } from "../plugins/desensitize/one-rule.ts";
import { derived, hmac, REFUSED, UNSURE, wordStream } from "./techniques.ts";

type Perturb = Extract<Action, { readonly action: "perturb" }>;

const LARGEST = 1e12;
/** Nearer to the limit than this share, a last bit may decide. */
const NEAR = 1e-9;

function wordsOf(env: string, position: Uint8Array, ordinal: number): () => number {
  const key = derived(env, "perturb");
  const counted = Buffer.alloc(16);
  counted.set(position);
  counted.writeUInt32BE(ordinal, 12);
  return wordStream(key, hmac(key, counted));
}

function noiseOf({ key, noise, scale, within }: Perturb, position: Uint8Array, ordinal: number) {
  const word = wordsOf(key.env, position, ordinal);
  const uniform = (): number => {
    const bits = (BigInt(word()) << 32n) | BigInt(word());
    return (Number(bits >> 11n) + 0.5) * 2 ** -53;
  };
  if (noise === "laplace") {
    const side = uniform();
    const size = -scale * Math.log(1 - uniform() * (1 - Math.exp(-within / scale)));
    return Math.min(size, within) * (side < 0.5 ? -1 : 1);
  }
  for (;;) {
    const x = uniform() * 2 - 1;
    const y = uniform() * 2 - 1;
    const square = x * x + y * y;
    if (square >= 1 || square === 0) continue;
    const drawn = scale * x * Math.sqrt((-2 * Math.log(square)) / square);
    if (Math.abs(drawn) <= within) return drawn;
  }
}

/** The sum of a number and its noise, before it is rounded. */
export function perturbed(
  action: Perturb,
  text: string,
  position: Uint8Array,
  ordinal: number,
): number | typeof REFUSED | typeof UNSURE {
  const value = Number(text);
  if (Math.abs(value) >= LARGEST * (1 + NEAR)) return REFUSED;
  const sum = value + noiseOf(action, position, ordinal);
  const largest = Math.max(Math.abs(value), Math.abs(sum));
  if (largest >= LARGEST * (1 + NEAR)) return REFUSED;
  return largest > LARGEST * (1 - NEAR) ? UNSURE : sum;
}

/** Whether what was written is the sum, rounded to so many decimals, but for a unit of the last one. */
export function isRounded(written: string, sum: number, decimals: number): boolean {
  const form = decimals === 0 ? /^-?\d+$/ : new RegExp(`^-?\\d+\\.\\d{${decimals}}$`);
  const unit = 10 ** -decimals;
  // Half a unit by rounding; the rest is for sums whose own last bit is worth more.
  const slack = unit * 0.501 + Math.abs(sum) * 1e-15;
  return form.test(written) && Math.abs(Number(written) - sum) <= slack;
}
