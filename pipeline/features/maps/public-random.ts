/**
 * Public random numbers of a feature map: from a seed in the pipeline file, the same on every machine for ever.
 *
 *   key    = SHA-256("sealstream/feature-map/v1|" purpose "|" seed in decimal)
 *   stream = AES-256-CTR under that key of zeros, counter from 0
 *   unit   = 8 bytes: two big-endian words a, b -> (2^26 (a >> 5) + (b >> 6) + 1/2) / 2^53, in (0, 1)
 *   normal = sqrt(-2 ln u1) (cos 2 pi u2, sin 2 pi u2) of two units in turn (Box & Muller 1958), by elementary.ts
 *
 * Everybody can compute them: they must never be noise, weights of a private model, or a key.
 */
import { createCipheriv, createHash } from "node:crypto";
import { log, sinCos } from "./elementary.ts";

const LABEL = "sealstream/feature-map/v1";
const UNIT_BYTES = 8;
/** Units made at a time. */
const BLOCK_UNITS = 8192;

export interface PublicRandom {
  /** Uniform in (0, 1). */
  unit(): number;
  /** Normal of mean 0 and variance 1; |value| < 8.6. */
  normal(): number;
}

/** @param purpose tells the maps of a file apart @param seed an integer of the pipeline file */
export function createPublicRandom(purpose: string, seed: number): PublicRandom {
  const key = createHash("sha256").update(`${LABEL}|${purpose}|${seed}`).digest();
  const cipher = createCipheriv("aes-256-ctr", key, new Uint8Array(16));
  const zeros = new Uint8Array(BLOCK_UNITS * UNIT_BYTES);
  let block: Buffer = Buffer.alloc(0);
  let at = 0;
  let spare: number | null = null;

  function unit(): number {
    if (at === block.length) {
      block = cipher.update(zeros);
      at = 0;
    }
    const high = block.readUInt32BE(at) >>> 5;
    const low = block.readUInt32BE(at + 4) >>> 6;
    at += UNIT_BYTES;
    return (high * 2 ** 26 + low + 0.5) / 2 ** 53;
  }

  return {
    unit,
    normal() {
      if (spare !== null) {
        const value = spare;
        spare = null;
        return value;
      }
      const radius = Math.sqrt(-2 * log(unit()));
      const [sine, cosine] = sinCos(2 * Math.PI * unit());
      spare = radius * sine;
      return radius * cosine;
    },
  };
}
