/**
 * Slabs: small byte arrays cut from larger ones, because an array buffer of its own costs as much as sealing a record.
 *
 * For ciphertext only: who gets one piece can reach its neighbours through `.buffer`. Nothing is handed out twice, so
 * a piece is its holder's for as long as it wants; it keeps its slab alive. Must not be used for plaintext or keys.
 */

const SLAB_BYTES = 64 * 1024;
/** Larger pieces get a buffer of their own, so that at most an eighth of a slab is ever left over. */
const LARGEST_PIECE = SLAB_BYTES / 8;

export interface Slabs {
  /** A piece of exactly `bytes` bytes, all zero. */
  take(bytes: number): Uint8Array;
}

export function createSlabs(): Slabs {
  let slab = new ArrayBuffer(0);
  let at = 0;
  return {
    take(bytes) {
      if (bytes > LARGEST_PIECE) return new Uint8Array(bytes);
      if (at + bytes > slab.byteLength) {
        slab = new ArrayBuffer(SLAB_BYTES);
        at = 0;
      }
      const piece = new Uint8Array(slab, at, bytes);
      at += bytes;
      return piece;
    },
  };
}
