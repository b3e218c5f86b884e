/**
 * The keys of a configuration: read once, turned into what the kernels work with, their bytes wiped.
 *
 * What is left serves as the keys do, and stays in the guest's memory as long as it lives.
 */
import { allocate } from "./arena";
import { expandKey } from "./aes";
import { prepareKey } from "./sha256";

/** What a key is for: HMAC-SHA-256, whose two midstates are kept, or AES, whose round keys are. */
export const KEY_HMAC: u32 = 1;
export const KEY_AES: u32 = 2;

/** A key ready for use: at most the 256 bytes of AES; behind it what it is for. */
const KEY_BYTES: usize = 272;
const KEY_KIND: usize = 256;

let states: usize = 0;
let keyCount: u32 = 0;

/** Takes room for `count` keys; false when there is none. */
export function prepareKeys(count: u32): bool {
  states = allocate(max<usize>(1, count) * KEY_BYTES, 16);
  keyCount = 0;
  return bool(states);
}

/** Adds the next key and wipes its bytes; false when no kernel takes it. */
export function addKey(kind: u32, key: usize, bytes: usize): bool {
  if (!bytes) return false;
  const state = states + <usize>keyCount * KEY_BYTES;
  keyCount++;
  if (kind == KEY_HMAC) prepareKey(key, bytes, state);
  else if (kind != KEY_AES || !expandKey(key, bytes, state)) return false;
  memory.fill(key, 0, bytes);
  store<u32>(state, kind, KEY_KIND);
  return true;
}

/** The key of that number, when it is for that use; else 0. */
export function keyOf(index: u32, kind: u32): usize {
  if (index >= keyCount) return 0;
  const state = states + <usize>index * KEY_BYTES;
  return load<u32>(state, KEY_KIND) == kind ? state : 0;
}
