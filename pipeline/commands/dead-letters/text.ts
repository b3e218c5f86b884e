/**
 * Untrusted bytes as text that a terminal cannot mistake for commands, and from which the bytes can be had again.
 *
 * JSON.stringify leaves C1 controls, DEL, bidirectional marks and line separators as they are; here they are escaped,
 * and the result is still JSON.
 */

/** UTF-8 text, or base64 of what is not UTF-8. */
export type Shown = { readonly text: string } | { readonly base64: string } | null;

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
/** Controls, format characters (bidirectional marks among them), line and paragraph separators, lone surrogates. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** Bytes for a person to read, losslessly. */
export function shown(bytes: Uint8Array | null): Shown {
  if (bytes === null) {
    return null;
  }
  try {
    return { text: decoder.decode(bytes) };
  } catch {
    // Because a fatal decoder throws for nothing but bytes that are not UTF-8.
    return { base64: Buffer.from(bytes).toString("base64") };
  }
}

/** JSON text without a character that a terminal acts on. @param indent spaces, for people */
export function safeJson(value: unknown, indent = 0): string {
  const lines = JSON.stringify(value, null, indent).split("\n");
  return lines.map(escapeUnsafe).join("\n");
}

/** A text with JSON's escapes in place of the characters that a terminal acts on, ends of lines among them. */
export function escapeUnsafe(text: string): string {
  return text.replace(UNSAFE, escaped);
}

/** JSON's escape of each UTF-16 unit. */
function escaped(character: string): string {
  return Array.from(
    { length: character.length },
    (_, index) => `\\u${character.charCodeAt(index).toString(16).padStart(4, "0")}`,
  ).join("");
}

/** Time of a record, which its producer may have made up; null when it is no time. */
export function isoTime(timestampMs: number): string | null {
  const date = new Date(timestampMs);
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
}
