/**
 * Markers: eight random bytes in the part of a value that its rule does not let out, and every form in which they could
 * come out all the same.
 */
import type { Action } from "../plugins/desensitize/one-rule.ts";
import type { Random } from "../plugins/desensitize/random.ts";

const KINDS = {
  digits: { characters: [..."123456789"], length: 8 },
  lower: { characters: [..."0123456789abcdefghijklmnopqrstuvwxyz"], length: 8 },
  mixed: { characters: [..."ABCXYZabcxyz0189"], length: 8 },
  twoBytes: { characters: [..."жЖéßЛиñØ"], length: 4 },
  pairs: {
    characters: [..."🌍🌑🍇🍏🍩🎃🎸🏀🐙🐢🐬👀👾💎💡📎🔑🔮🕊🗝🌶🍄🍒🍕🎈🎩🏆🐚🐞🐳👑💌📌🔔🔭🖋🌵🍌🍪🎁"],
    length: 2,
  },
} as const;
type Kind = keyof typeof KINDS;
export const MARKER_KINDS = Object.keys(KINDS) as readonly Kind[];

/** Eight random bytes of UTF-8. */
export function randomMarker(kind: Kind, random: Random): string {
  const { characters, length } = KINDS[kind];
  return Array.from({ length }, () => random.pick(characters)).join("");
}

const isAscii = (marker: string): boolean => /^[0-9A-Za-z]+$/.test(marker);
const isDigits = (marker: string): boolean => /^[0-9]+$/.test(marker);

function inGeneralized(
  { to }: Extract<Action, { action: "generalize" }>,
  marker: string,
): string | null {
  if ("prefix" in to) return `${"p".repeat(to.prefix)}${marker}`;
  if ("table" in to) return to.unknown === null ? null : marker;
  if (!isDigits(marker)) return null;
  // What is behind the point is rounded away, and what is behind the month is cut off.
  return "date" in to ? `2026-11-05T10:00:00.${marker}Z` : `41.${marker}`;
}

function inRedacted(
  { detectors }: Extract<Action, { action: "redact" }>,
  marker: string,
): string | null {
  if (detectors.includes("email") && isAscii(marker)) return `"to" ${marker}.x@example.com!`;
  const names = detectors.map((one) => (typeof one === "string" ? one : one.name));
  return names.includes("secret") ? `a\\ <${marker}> <"${marker}">` : null;
}

/** A value with the marker in a part that the rule does not let out; null: it has no such part. */
export function markedText(action: Action, marker: string): string | null {
  switch (action.action) {
    case "keep":
    case "perturb":
      return null;
    case "mask": {
      const { keepFirst, keepLast } = action;
      const masksAll = keepFirst + keepLast > 100;
      return masksAll ? marker : `${"é".repeat(keepFirst)}${marker}${"z".repeat(keepLast)}`;
    }
    case "generalize":
      return inGeneralized(action, marker);
    case "redact":
      return inRedacted(action, marker);
    case "fpe":
      return [...marker].every((one) => action.alphabet.includes(one)) ? marker : null;
    default:
      return marker;
  }
}

/** Texts that hold the marker in another spelling or code. */
export function formsOf(marker: string): string[] {
  const bytes = Buffer.from(marker);
  const hex = bytes.toString("hex");
  const units = Array.from({ length: marker.length }, (_, i) =>
    marker.charCodeAt(i).toString(16).padStart(4, "0"),
  );
  // Base64 of text around it depends on where it begins; what is between the edges does not.
  const base64 = [0, 1, 2].flatMap((before) => {
    const around = Buffer.concat([Buffer.alloc(before), bytes]);
    const from = Math.ceil((before * 4) / 3);
    const inner = around.toString("base64").slice(from, Math.floor((around.length * 4) / 3));
    return [inner, inner.replaceAll("+", "-").replaceAll("/", "_")];
  });
  return [
    marker,
    [...marker].reverse().join(""),
    hex,
    hex.toUpperCase(),
    Buffer.from(bytes.toReversed()).toString("hex"),
    encodeURIComponent(marker),
    hex.replaceAll(/../g, "%$&"),
    units.map((unit) => `\\u${unit}`).join(""),
    units.map((unit) => `\\u${unit.toUpperCase()}`).join(""),
    units.join(""),
    ...base64,
  ];
}

/** A text with its \\uXXXX decoded. */
export function decodeEscapes(text: string): string {
  if (!text.includes("\\u")) return text;
  return text.replaceAll(/\\u([0-9a-fA-F]{4})/g, (_, unit: string) =>
    String.fromCharCode(Number.parseInt(unit, 16)),
  );
}

/** The first form of the marker that a text holds; a text with escapes is searched as it is and decoded. */
export function findMarker(
  marker: string,
  text: string,
  decoded = decodeEscapes(text),
): string | null {
  return formsOf(marker).find((form) => text.includes(form) || decoded.includes(form)) ?? null;
}
