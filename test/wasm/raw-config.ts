/**
 * The smallest configuration of the desensitize plugin, byte by byte after the grammar of its README: it keeps `id`
 * and drops `note`. Written without the product's encoder, so that the two can be held against each other.
 */

const ALL_TYPES = 127;
const NO_PARENT = 0xffffffff;

function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, i) => {
    bytes.writeUInt32LE(value, i * 4);
  });
  return bytes;
}

export function createRawConfig(): Uint8Array {
  return Buffer.concat([
    Buffer.from("SDC2"),
    // keys, fields, id field, flags, depth, id bytes, reserved
    words(0, 2, 0, 0, 64, 1024, 0),
    // action keep, types, required, no parent, name bytes, bytes of parameters
    words(1, ALL_TYPES, 0, NO_PARENT, 2, 0),
    Buffer.from("id\0\0"),
    // action drop
    words(0, ALL_TYPES, 0, NO_PARENT, 4, 0),
    Buffer.from("note"),
  ]);
}
