/**
 * Writes compiled detectors in the bytes that the guest reads (grammar: plugins/desensitize/assembly/detect/README.md).
 *
 * Must not decide anything but layout.
 */
import { SealstreamError } from "../../../errors.ts";
import type { Dfa } from "../../../spec/patterns/dfa.ts";
import type { DetectionReplacement } from "../../../spec/pipeline-spec.ts";
import type { CompiledDetectors, Group } from "./compile.ts";

/** "SDD2", little-endian. */
const DETECT_MAGIC = 0x32444453;
/** Longest token or mask in bytes. */
const TEXT_MAX_BYTES = 1024;
const utf8 = new TextEncoder();

/** `[EMAIL]`, `[DE-TAX-ID]`. */
const DEFAULT_REPLACEMENT: DetectionReplacement = { kind: "token", with: "[{type}]" };

function words(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  values.forEach((value, i) => {
    view.setUint32(i * 4, value, true);
  });
  return bytes;
}

function padded(bytes: Uint8Array): Uint8Array {
  const part = new Uint8Array((bytes.length + 3) & ~3);
  part.set(bytes);
  return part;
}

function bitSet(members: readonly number[]): Uint8Array {
  const bits = new Uint8Array(32);
  for (const byte of members) bits[byte >> 3] = (bits[byte >> 3] ?? 0) | (1 << (byte & 7));
  return bits;
}

function typePart(name: string, shortest: number, replacement: DetectionReplacement): Uint8Array[] {
  const isMask = replacement.kind === "mask";
  const text = isMask
    ? replacement.with
    : replacement.with.replaceAll("{type}", () => name.toUpperCase());
  const bytes = utf8.encode(text);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what JSON would have to escape is meant
  if (/[\u0000-\u001f"\\]/.test(text) || !text.isWellFormed() || bytes.length > TEXT_MAX_BYTES) {
    throw new SealstreamError(
      "spec-invalid",
      `what stands in place of ${name} must be short and have no quote, backslash or control character`,
    );
  }
  if (isMask && [...text].length !== 1) {
    throw new SealstreamError("spec-invalid", `the mask of ${name} must be exactly one character`);
  }
  return [words(shortest, isMask ? 1 : 0, bytes.length), padded(bytes)];
}

/** Classes by byte, what states accept when it matters which, and transitions. */
function automatonPart(dfa: Dfa, accepts: readonly Uint8Array[]): Uint8Array[] {
  const next = new DataView(new ArrayBuffer(dfa.next.length * 2));
  dfa.next.forEach((target, i) => {
    next.setUint16(i * 2, target, true);
  });
  return [dfa.classOf, ...accepts, padded(new Uint8Array(next.buffer))];
}

function groupPart({ dfa, patterns, anchor, prefixes }: Group): Uint8Array[] {
  return [
    words(patterns.length, dfa.states, dfa.classes, dfa.firstAccepting),
    words(prefixes.states, prefixes.classes, prefixes.firstAccepting),
    bitSet(anchor),
    ...patterns.map(({ type, validator, joiners }) => words(type, validator, joiners)),
    ...automatonPart(dfa, [words(...dfa.accepts.subarray(dfa.firstAccepting))]),
    ...automatonPart(prefixes, []),
  ];
}

/**
 * The block for a set of detectors.
 * @throws spec-invalid when a replacement cannot stand in a JSON string as it is
 */
export function encodeDetectors(
  { names, shortest, groups }: CompiledDetectors,
  replacement: DetectionReplacement = DEFAULT_REPLACEMENT,
): Uint8Array<ArrayBuffer> {
  const parts = [
    words(DETECT_MAGIC, names.length, groups.length, 0),
    ...names.flatMap((name, type) => typePart(name, shortest[type] ?? 1, replacement)),
    ...groups.flatMap(groupPart),
  ];
  const block = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    block.set(part, at);
    at += part.length;
  }
  return block;
}
