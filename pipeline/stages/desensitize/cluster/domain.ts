/**
 * The values of a clustered field as codes, whole numbers from 0 on, so that a set of values is a range of codes.
 *
 * A domain also says where its ranges are halved (`middle`): that makes a tree of regions out of the domain alone, which
 * no data can move. Rendering is monotone: a range inside another is rendered as a set of values inside the other's.
 * Must not know records, windows or groups.
 */
import { SealstreamError } from "../../../errors.ts";
import type { ClusterDomain } from "../../../spec/pipeline-spec.ts";
import { createDateDomain } from "./domain-date.ts";
import { createHierarchyDomain } from "./domain-hierarchy.ts";
import { createTextDomain } from "./domain-text.ts";

export interface Domain {
  /** Codes are 0..size-1; 1 to 2^48. */
  readonly size: number;
  /**
   * The code of a value: of a decoded JSON string, or of the text of a JSON number. Null: not of this domain, so the
   * record is refused.
   */
  encode(text: string): number | null;
  /** What stands in a record for the codes low..high, both included. */
  render(low: number, high: number): string;
  /** The last code of the lower half of the region low..high of the fixed tree: low <= middle < high. */
  middle(low: number, high: number): number;
  /** Codes, 1..size, of the values that `render(low, high)` may mean; more than high - low + 1 where it says less. */
  covered(low: number, high: number): number;
  /** What stands in a record for a mean of codes: a number or a day; null where a mean means nothing. */
  readonly mean: ((code: number) => string) | null;
}

const SIZE_MAX = 2 ** 48;
/** Decimals of a published mean. */
const MEAN_SCALE = 100;
/** A JSON number (RFC 8259, section 6). */
const JSON_NUMBER = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;
const DIGITS = /^[0-9]+$/;

function halve(low: number, high: number): number {
  return low + Math.floor((high - low - 1) / 2);
}

function createNumberDomain([lowest, highest]: readonly [number, number]): Domain {
  const size = highest - lowest + 1;
  if (!Number.isSafeInteger(lowest) || !Number.isSafeInteger(highest) || !(size >= 1)) {
    throw new SealstreamError(
      "spec-invalid",
      "cluster: a range goes from a whole number up to one",
    );
  }
  return {
    size,
    encode(text) {
      if (!JSON_NUMBER.test(text)) return null;
      const value = Math.floor(Number(text));
      // Plus 0, because -0 rounds down to -0.
      return value >= lowest && value <= highest ? value - lowest + 0 : null;
    },
    render(low, high) {
      const first = lowest + low;
      if (low === high) return `${first}`;
      return first < 0 ? `${first} to ${lowest + high}` : `${first}-${lowest + high}`;
    },
    middle: halve,
    covered: (low, high) => high - low + 1,
    mean: (code) => `${Math.round((lowest + code) * MEAN_SCALE) / MEAN_SCALE + 0}`,
  };
}

function createDigitsDomain(length: number): Domain {
  const size = 10 ** length;
  const padded = (code: number) => `${code}`.padStart(length, "0");
  return {
    size,
    encode: (text) => (text.length === length && DIGITS.test(text) ? Number(text) : null),
    render: (low, high) => (low === high ? padded(low) : `${padded(low)}-${padded(high)}`),
    middle(low, high) {
      // Between two values of the most significant digit that differs, so that ranges look like parts of a code.
      let unit = 1;
      while (low % (unit * 10) === 0 && (high + 1) % (unit * 10) === 0 && unit * 10 <= high - low) {
        unit *= 10;
      }
      return low + Math.floor((high - low + 1) / unit / 2) * unit - 1;
    },
    covered: (low, high) => high - low + 1,
    mean: null,
  };
}

function createAny(domain: ClusterDomain): Domain {
  switch (domain.kind) {
    case "number":
      return createNumberDomain(domain.range);
    case "date":
      return createDateDomain(domain.range);
    case "digits":
      return createDigitsDomain(domain.length);
    case "text":
      return createTextDomain();
    case "hierarchy":
      return createHierarchyDomain(domain.paths);
  }
}

/** @throws spec-invalid when it has no value, or more than 2^48 */
export function createDomain(domain: ClusterDomain): Domain {
  const made = createAny(domain);
  if (!Number.isInteger(made.size) || made.size < 1 || made.size > SIZE_MAX) {
    throw new SealstreamError(
      "spec-invalid",
      "cluster: a field has more values than can be ordered",
    );
  }
  return made;
}
