/**
 * What most plugins ask of the bytes of a row.
 */

/** Whether bytes are UTF-8 (RFC 3629): no overlong form, no surrogate, nothing above U+10FFFF. */
export function isUtf8(at: usize, bytes: usize): bool {
  const end = at + bytes;
  while (at < end) {
    const lead = <u32>load<u8>(at++);
    if (lead < 0x80) continue;
    if (lead < 0xc2 || lead > 0xf4) return false;
    const more: usize = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    if (end - at < more) return false;
    const second = <u32>load<u8>(at);
    const least: u32 = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    const most: u32 = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (second < least || second > most) return false;
    for (let i: usize = 1; i < more; i++) {
      if ((<u32>load<u8>(at + i) & 0xc0) != 0x80) return false;
    }
    at += more;
  }
  return true;
}

/** A row, or a part of one, as a string; bytes that are not UTF-8 become U+FFFD. */
export function readText(at: usize, bytes: usize): string {
  return String.UTF8.decodeUnsafe(at, bytes);
}

/** A copy of bytes that stays for the life of the plugin: the configuration is gone when `configure` has returned. */
export function remember(at: usize, bytes: usize): usize {
  const copy = heap.alloc(max<usize>(bytes, 1));
  memory.copy(copy, at, bytes);
  return copy;
}
