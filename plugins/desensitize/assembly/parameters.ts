/**
 * The parameters of each action: what its block in the configuration must hold, and what is kept of it in the field.
 *
 * One function an action, so that an action can be added without touching another. Blocks (grammar:
 * plugins/desensitize/README.md) begin with words, texts follow. Must not keep a pointer into the configuration: it is
 * overwritten afterwards.
 */
import { allocate } from "./arena";
import { compareBytes } from "./bytes";
import { DECIMAL_LIMIT } from "./decimal";
import { configureDetectors, redactGrowth } from "./detect/configure";
import { ENCODING_BASE64URL, formBytes, formOf } from "./digest-text";
import { FF1_MOST_TWEAK } from "./ff1";
import {
  ACTION_BOUNDS, ACTION_CLUSTER, ACTION_DATE, ACTION_FAKE, ACTION_FPE, ACTION_HASH, ACTION_KEEP, ACTION_LOOK_UP, ACTION_MASK,
  ACTION_PERTURB, ACTION_PICK, ACTION_PREFIX, ACTION_PSEUDONYMIZE, ACTION_REDACT,
  ACTION_REPLACE, ACTION_WIDTH,
  FIELD_DATA, FIELD_FACTOR, FIELD_FIRST, FIELD_KEY, FIELD_PREFIX_BYTES, FIELD_ROOM, FIELD_SECOND, FIELD_TEXT,
  FIELD_TEXT_BYTES, isMade,
} from "./fields";
import { DATE_DECADE } from "./generalize";
import { isPlain, writeEscaped } from "./json-strings";
import { KEY_AES, KEY_HMAC, keyOf } from "./keys";
import { MOST_DECIMALS, MOST_NOISE, NOISE_GAUSSIAN } from "./noise";
import { DIGEST_BYTES } from "./sha256";
import { countCodePoints, isUtf8 } from "./utf8";

/** Room that any value needs beside its rule's: a comma, two quotes or brackets, and "null". */
const ROOM_BYTES: u32 = 8;
/** Fewest bytes of a digest that are left of it: below, strangers share one all the time. */
const FEWEST_DIGEST_BYTES: u32 = 4;

/** Keeps text as it is written between quotes. */
function keepText(field: usize, text: usize, bytes: usize, quoted: bool): bool {
  const kept = allocate(bytes * 6 + 2 + 16, 16);
  if (!kept) return false;
  let end = kept;
  if (quoted) store<u8>(end++, 0x22);
  end = writeEscaped(end, text, text + bytes);
  if (quoted) store<u8>(end++, 0x22);
  store<u32>(field, <u32>kept, FIELD_TEXT);
  store<u32>(field, <u32>(end - kept), FIELD_TEXT_BYTES);
  return true;
}

function addRoom(field: usize, bytes: u32): void {
  store<u32>(field, load<u32>(field, FIELD_ROOM) + bytes, FIELD_ROOM);
}

/** keepFirst keepLast character */
function readMask(field: usize, block: usize, bytes: usize): bool {
  if (bytes < 8) return false;
  const text = block + 8;
  if (!isUtf8(text, block + bytes) || countCodePoints(text, block + bytes) != 1) return false;
  store<u32>(field, load<u32>(block), FIELD_FIRST);
  store<u32>(field, load<u32>(block, 4), FIELD_SECOND);
  if (!keepText(field, text, bytes - 8, false)) return false;
  store<u32>(field, load<u32>(field, FIELD_TEXT_BYTES), FIELD_FACTOR);
  return true;
}

/** constant */
function readReplace(field: usize, block: usize, bytes: usize): bool {
  if (!isUtf8(block, block + bytes) || !keepText(field, block, bytes, true)) return false;
  addRoom(field, load<u32>(field, FIELD_TEXT_BYTES));
  return true;
}

/** Reads `encoding digestBytes` at `words` into the field's form. */
function readForm(field: usize, words: usize): bool {
  const encoding = load<u32>(words);
  const bytes = load<u32>(words, 4);
  if (encoding > ENCODING_BASE64URL || bytes < FEWEST_DIGEST_BYTES || bytes > <u32>DIGEST_BYTES) return false;
  const form = formOf(encoding, bytes);
  store<u32>(field, form, FIELD_FIRST);
  addRoom(field, formBytes(form));
  return true;
}

/** key encoding digestBytes label */
function readPseudonymize(field: usize, block: usize, bytes: usize): bool {
  if (bytes < 12) return false;
  const label = block + 12;
  // The label is part of the record key too, which has no escapes.
  if (!readKey(field, load<u32>(block), KEY_HMAC) || !isUtf8(label, block + bytes) || !isPlain(label, block + bytes)) return false;
  if (!readForm(field, block + 4) || !keepText(field, label, bytes - 12, false)) return false;
  addRoom(field, load<u32>(field, FIELD_TEXT_BYTES));
  return true;
}

/** encoding digestBytes */
function readHash(field: usize, block: usize, bytes: usize): bool {
  return bytes == 8 && readForm(field, block);
}

/** Keeps a copy of the bytes from `data` on, with 16 readable bytes behind it. */
function keepData(field: usize, data: usize, bytes: usize): bool {
  const kept = allocate(bytes + 16, 16);
  if (!kept) return false;
  memory.copy(kept, data, bytes);
  store<u32>(field, <u32>kept, FIELD_DATA);
  return true;
}

function readKey(field: usize, index: u32, kind: u32): bool {
  const key = keyOf(index, kind);
  store<u32>(field, <u32>key, FIELD_KEY);
  return bool(key);
}

/** Whether the words offset and length at `place` are those of UTF-8 text among the `bytes` bytes at `data`. */
function isText(data: usize, bytes: usize, place: usize): bool {
  const offset = load<u32>(place);
  const length = load<u32>(place, 4);
  if (<u64>offset + <u64>length > <u64>bytes) return false;
  return isUtf8(data + offset, data + offset + length);
}

/** Whether `count` offsets and lengths from `places` on, inside the data, are those of texts. */
function areTexts(data: usize, bytes: usize, places: usize, count: u64): bool {
  if (<u64>(places - data) + (count << 3) > <u64>bytes) return false;
  for (let i: u64 = 0; i < count; i++) {
    if (!isText(data, bytes, places + (<usize>i << 3))) return false;
  }
  return true;
}

/** width, as two words */
function readWidth(field: usize, block: usize, bytes: usize): bool {
  if (bytes != 8 || load<i64>(block) < 1 || load<i64>(block) > DECIMAL_LIMIT) return false;
  store<u32>(field, load<u32>(block), FIELD_FIRST);
  store<u32>(field, load<u32>(block, 4), FIELD_SECOND);
  return true;
}

/** count zero bound*count place*(count + 1) texts */
function readBounds(field: usize, block: usize, bytes: usize): bool {
  if (bytes < 16 || !load<u32>(block) || load<u32>(block, 4)) return false;
  const count = <u64>load<u32>(block);
  if (8 + count * 16 + 8 > <u64>bytes) return false;
  for (let i: u64 = 0; i < count; i++) {
    const at = block + 8 + (<usize>i << 3);
    const bound = load<i64>(at);
    if (bound <= -DECIMAL_LIMIT || bound >= DECIMAL_LIMIT || (i && bound <= load<i64>(at - 8))) return false;
  }
  if (!areTexts(block, bytes, block + 8 + (<usize>count << 3), count + 1)) return false;
  return keepData(field, block, bytes);
}

/** one word: the part of a date, or a number of characters from 1 */
function readWord(field: usize, block: usize, bytes: usize, least: u32, most: u32): bool {
  if (bytes != 4 || load<u32>(block) < least || load<u32>(block) > most) return false;
  store<u32>(field, load<u32>(block), FIELD_FIRST);
  return true;
}

/** flags count (place place)*count place texts; the first of two places is the value, in rising order */
function readLookUp(field: usize, block: usize, bytes: usize): bool {
  if (bytes < 16 || load<u32>(block) > 1) return false;
  const count = <u64>load<u32>(block, 4);
  if (!areTexts(block, bytes, block + 8, count * 2 + 1)) return false;
  for (let i: u64 = 1; i < count; i++) {
    const row = block + 8 + (<usize>i << 4);
    const before = row - 16;
    const order = compareBytes(block + load<u32>(before), load<u32>(before, 4), block + load<u32>(row), load<u32>(row, 4));
    if (order >= 0) return false;
  }
  return keepData(field, block, bytes);
}

/** key, then the list: count place*count texts */
function readPick(field: usize, block: usize, bytes: usize): bool {
  if (bytes < 16 || !readKey(field, load<u32>(block), KEY_HMAC)) return false;
  const count = load<u32>(block, 4);
  if (!count || !areTexts(block + 4, bytes - 4, block + 8, count)) return false;
  return keepData(field, block + 4, bytes - 4);
}

/** key radix alphabet tweak */
function readFpe(field: usize, block: usize, bytes: usize): bool {
  if (bytes < 8 || !readKey(field, load<u32>(block), KEY_AES)) return false;
  const radix = load<u32>(block, 4);
  if (radix < 2 || radix > 36 || bytes - 8 < <usize>radix || bytes - 8 - radix > FF1_MOST_TWEAK) return false;
  for (let i: u32 = 0; i < radix; i++) {
    const character = load<u8>(block + 8 + i);
    // Printable ASCII without quote and backslash, each once.
    if (character < 0x20 || character > 0x7e || character == 0x22 || character == 0x5c) return false;
    for (let j: u32 = 0; j < i; j++) {
      if (load<u8>(block + 8 + j) == character) return false;
    }
  }
  store<u32>(field, radix, FIELD_FIRST);
  store<u32>(field, <u32>bytes - 8 - radix, FIELD_SECOND);
  return keepData(field, block + 8, bytes - 8);
}

/** key kind decimals scale within, the last two as f64 */
function readPerturb(field: usize, block: usize, bytes: usize): bool {
  if (bytes != 28 || !readKey(field, load<u32>(block), KEY_HMAC)) return false;
  const kind = load<u32>(block, 4);
  const decimals = load<u32>(block, 8);
  const scale = load<f64>(block, 12);
  const within = load<f64>(block, 20);
  if (kind > NOISE_GAUSSIAN || decimals > MOST_DECIMALS) return false;
  // A bound below the scale would make Gaussian noise be drawn again and again.
  if (!(scale > 0 && within >= scale && within <= MOST_NOISE)) return false;
  store<u32>(field, kind, FIELD_FIRST);
  store<u32>(field, decimals, FIELD_SECOND);
  return keepData(field, block + 12, 16);
}

/** Sets of detectors that fields have, in their order: fields may share one. */
const SETS: usize = memory.data(256, 16);
const MOST_SETS: u32 = 64;
let setCount: u32 = 0;

/** set, and when no field before has it, its detectors */
function readRedact(field: usize, block: usize, bytes: usize): bool {
  if (bytes < 4) return false;
  const index = load<u32>(block);
  if (index == setCount && setCount < MOST_SETS) {
    const read = configureDetectors(block + 4, bytes - 4);
    if (!read) return false;
    store<u32>(SETS + (<usize>setCount << 2), <u32>read);
    setCount++;
  } else if (index >= setCount || bytes != 4) {
    return false;
  }
  const set = <usize>load<u32>(SETS + (<usize>index << 2));
  store<u32>(field, <u32>set, FIELD_DATA);
  store<u32>(field, redactGrowth(set), FIELD_FACTOR);
  return true;
}

/** Reads the block of a rule whose result is made while the record is read. */
function readMadeParameters(field: usize, action: u32, block: usize, bytes: usize): bool {
  switch (action) {
    case ACTION_WIDTH:
      return readWidth(field, block, bytes);
    case ACTION_BOUNDS:
      return readBounds(field, block, bytes);
    case ACTION_DATE:
      return readWord(field, block, bytes, 0, DATE_DECADE);
    case ACTION_PREFIX:
      return readWord(field, block, bytes, 1, 0xffffffff);
    case ACTION_LOOK_UP:
      return readLookUp(field, block, bytes);
    case ACTION_PICK:
      return readPick(field, block, bytes);
    case ACTION_FAKE:
      return bytes == 4 && readKey(field, load<u32>(block), KEY_HMAC);
    case ACTION_FPE:
      return readFpe(field, block, bytes);
    case ACTION_PERTURB:
      return readPerturb(field, block, bytes);
    case ACTION_CLUSTER:
      return !bytes;
  }
  return false;
}

/** Reads the block of an action into its field, whose prefix is there already. False: refused, or no memory. */
export function readParameters(field: usize, action: u32, block: usize, bytes: usize): bool {
  store<u32>(field, load<u32>(field, FIELD_PREFIX_BYTES) + ROOM_BYTES, FIELD_ROOM);
  switch (action) {
    case ACTION_KEEP:
      store<u32>(field, 1, FIELD_FACTOR);
      return !bytes;
    case ACTION_MASK:
      return readMask(field, block, bytes);
    case ACTION_REPLACE:
      return readReplace(field, block, bytes);
    case ACTION_PSEUDONYMIZE:
      return readPseudonymize(field, block, bytes);
    case ACTION_HASH:
      return readHash(field, block, bytes);
    case ACTION_REDACT:
      return readRedact(field, block, bytes);
  }
  if (isMade(action)) return readMadeParameters(field, action, block, bytes);
  // What is left has no parameters: a field that is dropped, an object or array that is rebuilt.
  return !bytes;
}
