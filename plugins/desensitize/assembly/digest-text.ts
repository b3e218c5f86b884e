/**
 * A digest as text: hexadecimal digits or unpadded base64url (RFC 4648 sections 8 and 5), whole or its first bytes.
 *
 * A form is one word: the encoding in bits 8 and up, the number of bytes in bits 0 to 7; 0 is the usual form, all 32
 * bytes in lowercase hexadecimal digits. Must not know where a digest comes from.
 */
import { DIGEST_BYTES } from "./sha256";

export const ENCODING_HEX: u32 = 0;
export const ENCODING_BASE64URL: u32 = 1;

/** "0123456789abcdef" */
export const HEX: usize = memory.data<u8>([48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 97, 98, 99, 100, 101, 102], 16);

/** The form of the first `bytes` bytes in an encoding. */
export function formOf(encoding: u32, bytes: u32): u32 {
  return encoding == ENCODING_HEX && bytes == <u32>DIGEST_BYTES ? 0 : (encoding << 8) | bytes;
}

/** Characters of a digest in a form. */
export function formBytes(form: u32): u32 {
  if (!form) return <u32>DIGEST_BYTES << 1;
  const bytes = form & 255;
  return form >> 8 == ENCODING_HEX ? bytes << 1 : (bytes * 4 + 2) / 3;
}

/** The character of RFC 4648 section 5 for six bits. */
// @ts-ignore: decorator
@inline
function base64Character(six: u32): u32 {
  if (six < 26) return six + 0x41;
  if (six < 52) return six - 26 + 0x61;
  if (six < 62) return six - 52 + 0x30;
  return six == 62 ? 0x2d : 0x5f;
}

/** Writes the digest at `digest` in a form; as many characters as formBytes() says. */
export function writeDigestIn(form: u32, digest: usize, out: usize): void {
  const bytes: u32 = form ? form & 255 : <u32>DIGEST_BYTES;
  if (form >> 8 == ENCODING_HEX) {
    for (let i: u32 = 0; i < bytes; i++) {
      const byte: u32 = load<u8>(digest + i);
      store<u8>(out++, load<u8>(HEX + (byte >> 4)));
      store<u8>(out++, load<u8>(HEX + (byte & 15)));
    }
    return;
  }
  let bits: u32 = 0;
  let held: u32 = 0;
  for (let i: u32 = 0; i < bytes; i++) {
    held = (held << 8) | <u32>load<u8>(digest + i);
    for (bits += 8; bits >= 6; ) {
      bits -= 6;
      store<u8>(out++, base64Character((held >> bits) & 63));
    }
  }
  // What is left is filled up with zero bits (section 3.5).
  if (bits) store<u8>(out, base64Character((held << (6 - bits)) & 63));
}
