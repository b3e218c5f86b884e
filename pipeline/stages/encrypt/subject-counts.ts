/**
 * How many records of each subject a lane has sealed to train: a hash table of 14 bytes a slot.
 *
 * A subject is 12 bytes of a keyed hash, so that neither memory nor changelog holds a name. Open addressing with linear
 * probing in one typed array; it doubles when three quarters are full: 10 million subjects take 235 MB, 352 MB while
 * it grows. Two subjects with the same 96 bits share one count: of n subjects some two do with a chance below n^2 / 2^97,
 * 6e-16 for 10 million; then records of theirs are dropped too early, and never one let in that another count would stop.
 * Must not know Kafka, keys or limits.
 */

/** Bytes of a subject's hash. */
export const SUBJECT_BYTES = 12;
/** Largest count that the table holds. */
export const MOST_RECORDS = 0xffff;

const WORDS = 3;
const FIRST_SLOTS = 1024;
const BYTES_PER_SLOT = 4 * WORDS + 2;

export class SubjectCounts {
  #words = new Uint32Array(FIRST_SLOTS * WORDS);
  /** 0: the slot is empty. */
  #counts = new Uint16Array(FIRST_SLOTS);
  #subjects = 0;
  #sealed = 0;

  /** Subjects with a count. */
  get subjects(): number {
    return this.#subjects;
  }

  /** The sum of all counts. */
  get sealed(): number {
    return this.#sealed;
  }

  get memoryBytes(): number {
    return this.#counts.length * BYTES_PER_SLOT;
  }

  /** Records of a subject, 0 for one that is not known. @param hash {@link SUBJECT_BYTES} uniform bytes */
  get(hash: Uint8Array): number {
    const [a, b, c] = wordsOf(hash);
    return this.#counts[this.#find(a, b, c)] ?? 0;
  }

  /** @param count 1..{@link MOST_RECORDS} */
  set(hash: Uint8Array, count: number): void {
    const [a, b, c] = wordsOf(hash);
    let slot = this.#find(a, b, c);
    const before = this.#counts[slot] ?? 0;
    if (before === 0 && 4 * (this.#subjects + 1) > 3 * this.#counts.length) {
      this.#grow();
      slot = this.#find(a, b, c);
    }
    this.#put(slot, [a, b, c], count);
    this.#sealed += count - before;
    if (before === 0) this.#subjects += 1;
  }

  #put(slot: number, [a, b, c]: readonly [number, number, number], count: number): void {
    const at = slot * WORDS;
    this.#words[at] = a;
    this.#words[at + 1] = b;
    this.#words[at + 2] = c;
    this.#counts[slot] = count;
  }

  /** The subject's slot, or the empty one where it belongs. */
  #find(a: number, b: number, c: number): number {
    const words = this.#words;
    const counts = this.#counts;
    const mask = counts.length - 1;
    let slot = a & mask;
    for (; counts[slot] !== 0; slot = (slot + 1) & mask) {
      const at = slot * WORDS;
      if (words[at] === a && words[at + 1] === b && words[at + 2] === c) break;
    }
    return slot;
  }

  #grow(): void {
    const words = this.#words;
    const counts = this.#counts;
    this.#words = new Uint32Array(words.length * 2);
    this.#counts = new Uint16Array(counts.length * 2);
    for (let slot = 0; slot < counts.length; slot += 1) {
      const count = counts[slot] ?? 0;
      if (count === 0) continue;
      const at = slot * WORDS;
      const [a = 0, b = 0, c = 0] = [words[at], words[at + 1], words[at + 2]];
      this.#put(this.#find(a, b, c), [a, b, c], count);
    }
  }
}

function wordsOf(hash: Uint8Array): [number, number, number] {
  const view = new DataView(hash.buffer, hash.byteOffset, SUBJECT_BYTES);
  return [view.getUint32(0), view.getUint32(4), view.getUint32(8)];
}
