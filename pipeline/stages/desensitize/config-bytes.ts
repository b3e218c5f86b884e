/**
 * Little-endian words and padded bytes, the alphabet of the desensitize plugin's configuration.
 *
 * What is written may be key material: whoever finishes a writer gets the only copy that is left. Must not know what
 * the words mean.
 */

export interface ConfigWriter {
  words(...values: readonly number[]): void;
  /** Bytes as they are. */
  bytes(bytes: Uint8Array): void;
  /** Bytes, and zeros up to a multiple of four. */
  padded(bytes: Uint8Array): void;
  /** Everything in one piece; the parts are wiped. */
  finish(): Uint8Array<ArrayBuffer>;
}

export function createWriter(): ConfigWriter {
  const parts: Uint8Array[] = [];
  return {
    words(...values) {
      const part = new Uint8Array(values.length * 4);
      const view = new DataView(part.buffer);
      values.forEach((value, i) => {
        view.setUint32(i * 4, value, true);
      });
      parts.push(part);
    },
    bytes(bytes) {
      parts.push(Uint8Array.from(bytes));
    },
    padded(bytes) {
      const part = new Uint8Array((bytes.length + 3) & ~3);
      part.set(bytes);
      parts.push(part);
    },
    finish() {
      const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
      let at = 0;
      for (const part of parts) {
        whole.set(part, at);
        at += part.length;
        part.fill(0);
      }
      return whole;
    },
  };
}
