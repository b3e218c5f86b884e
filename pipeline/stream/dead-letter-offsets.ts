/**
 * A set of offsets of one partition: a bit each, in pages, so that millions of neighbours cost a fraction of a megabyte.
 *
 * A plain Set costs some 40 bytes a number. Offsets that lie far from each other cost a page of 512 bytes each.
 */

const PAGE_OFFSETS = 4096;

export class OffsetSet {
  readonly #pages = new Map<number, Uint8Array>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** @param offset 0 or more, safe integer */
  add(offset: number): void {
    const { page, byte, bit } = placeOf(offset);
    let bits = this.#pages.get(page);
    if (bits === undefined) {
      bits = new Uint8Array(PAGE_OFFSETS / 8);
      this.#pages.set(page, bits);
    }
    const before = bits[byte] ?? 0;
    if ((before & bit) === 0) {
      bits[byte] = before | bit;
      this.#size += 1;
    }
  }

  has(offset: number): boolean {
    const { page, byte, bit } = placeOf(offset);
    return ((this.#pages.get(page)?.[byte] ?? 0) & bit) !== 0;
  }
}

function placeOf(offset: number): { page: number; byte: number; bit: number } {
  const within = offset % PAGE_OFFSETS;
  return { page: Math.floor(offset / PAGE_OFFSETS), byte: within >> 3, bit: 1 << (within & 7) };
}
