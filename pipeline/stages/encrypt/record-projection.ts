/**
 * What of a desensitized record goes to topic `records`: its parts in clear, and places for those to be sealed.
 *
 * Fails closed: what the tree does not name is left out. A part that is absent stays absent; where the tree wants an
 * object or array and the record has something else, the part is left out (within an array: null, so that its
 * neighbours keep their places). Must not know keys.
 */
import { MAX_VALUE_BYTES } from "../../../schemas/topics.ts";
import { sealedFieldLength } from "../../crypto/sealed-field.ts";
import { isJsonObject, parseExact } from "../../features/exact-json.ts";
import {
  elementPath,
  type FieldNode,
  type FieldTree,
  memberPath,
} from "../../features/field-tree.ts";

/** A value to be sealed; once {@link text} is set, it is what the record's JSON has there. */
export class SealedPlace {
  /** Of this one value: `visits[0].note`. */
  readonly path: string;
  readonly audience: readonly string[];
  /** The value as JSON text. */
  readonly json: string;
  text = "";

  constructor(path: string, audience: readonly string[], json: string) {
    this.path = path;
    this.audience = audience;
    this.json = json;
  }

  toJSON(): string {
    return this.text;
  }
}

export interface Projection {
  readonly places: readonly SealedPlace[];
  /** JSON text of the projected record, with the places' texts as they are now. */
  text(): string;
}

const decoder = new TextDecoder();

/** Projects a record that was read before: JSON of an object. */
export function projectRecord(value: Uint8Array, tree: FieldTree): Projection {
  const places: SealedPlace[] = [];
  const projected = project(parseExact(decoder.decode(value)), tree, "", places) ?? {};
  return { places, text: () => JSON.stringify(projected) };
}

/** True when the record for `records` surely fits into one message. */
export function fitsRecord(value: Uint8Array, tree: FieldTree): boolean {
  // An element takes at least two bytes of the record: itself and a comma.
  const most = Math.min(mostPlaces(tree), value.length / 2);
  if (sealedFieldLength(value.length) + most * sealedFieldLength(0) <= MAX_VALUE_BYTES) return true;
  const { places, text } = projectRecord(value, tree);
  const sealed = places.map(({ json }) => sealedFieldLength(Buffer.byteLength(json)));
  const bytes = sealed.reduce((sum, length) => sum + length, Buffer.byteLength(text()));
  return bytes <= MAX_VALUE_BYTES;
}

/** Most values of one record that are sealed; infinite where one is inside an array. */
function mostPlaces(node: FieldNode): number {
  switch (node.kind) {
    case "clear":
      return 0;
    case "sealed":
      return 1;
    case "array":
      return mostPlaces(node.element) === 0 ? 0 : Number.POSITIVE_INFINITY;
    case "object":
      return [...node.fields.values()].reduce((sum, inner) => sum + mostPlaces(inner), 0);
  }
}

/** Undefined: nothing of it leaves. */
function project(value: unknown, node: FieldNode, path: string, places: SealedPlace[]): unknown {
  switch (node.kind) {
    case "clear":
      return value;
    case "sealed": {
      const place = new SealedPlace(path, node.audience, JSON.stringify(value));
      places.push(place);
      return place;
    }
    case "array":
      if (!Array.isArray(value)) return undefined;
      return value.map(
        (one, index) => project(one, node.element, elementPath(path, index), places) ?? null,
      );
    case "object":
      if (!isJsonObject(value)) return undefined;
      return Object.fromEntries(
        Object.entries(value).flatMap(([name, one]) => {
          const inner = node.fields.get(name);
          if (inner === undefined) return [];
          const projected = project(one, inner, memberPath(path, name), places);
          return projected === undefined ? [] : [[name, projected]];
        }),
      );
  }
}
