/**
 * Days as codes: the number of days since the first of the range.
 *
 * Regions are halved at the turn of a year, then of a month, then between days, so that what is published reads as
 * people write dates. A time of day is read over as it is written; no time zone is applied. Must not know the clock.
 */
import { SealstreamError } from "../../../errors.ts";
import type { Domain } from "./domain.ts";

const DAY_MS = 86_400_000;
const DAY =
  /^(\d{4})-(\d{2})-(\d{2})(?:[Tt ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:[Zz]|[+-]\d{2}(?::?\d{2})?)?)?$/;

/** Days since 1970-01-01, or null when the text is no day of the calendar. */
function dayOf(text: string): number | null {
  const [, year, month, day] = DAY.exec(text) ?? [];
  if (year === undefined) return null;
  const iso = `${year}-${month}-${day}`;
  const ms = Date.parse(`${iso}T00:00:00Z`);
  return Number.isNaN(ms) || isoOf(ms / DAY_MS) !== iso ? null : ms / DAY_MS;
}

function isoOf(day: number): string {
  return new Date(day * DAY_MS).toISOString().slice(0, 10);
}

/** The first day of a month, counted in months since the year 0. */
function firstOfMonth(months: number): number {
  const at = new Date(0);
  at.setUTCFullYear(Math.floor(months / 12), months % 12, 1);
  return at.getTime() / DAY_MS;
}

function monthOf(day: number): number {
  const at = new Date(day * DAY_MS);
  return at.getUTCFullYear() * 12 + at.getUTCMonth();
}

/** The turn of a period of so many months that is nearest to the middle of first..last; null when there is none. */
function turnNear(first: number, last: number, months: number): number | null {
  const middle = (first + last + 1) / 2;
  const period = Math.floor(monthOf(Math.floor(middle)) / months);
  const turns = [firstOfMonth(period * months), firstOfMonth((period + 1) * months)]
    .filter((turn) => turn > first && turn <= last)
    .sort((a, b) => Math.abs(a - middle) - Math.abs(b - middle));
  return turns[0] ?? null;
}

function renderDays(first: number, last: number): string {
  const [from, to] = [isoOf(first), isoOf(last)];
  if (first === last) return from;
  const month = monthOf(first);
  if (first === firstOfMonth(month)) {
    if (last + 1 === firstOfMonth(month + 1)) return from.slice(0, 7);
    if (month % 12 === 0 && last + 1 === firstOfMonth(month + 12)) return from.slice(0, 4);
  }
  return `${from}/${to}`;
}

export function createDateDomain([first, last]: readonly [string, string]): Domain {
  const [from, to] = [dayOf(first), dayOf(last)];
  if (from === null || to === null || from > to) {
    throw new SealstreamError(
      "spec-invalid",
      "cluster: a range of days goes from one day up to one",
    );
  }
  return {
    size: to - from + 1,
    encode(text) {
      const day = dayOf(text);
      return day !== null && day >= from && day <= to ? day - from : null;
    },
    render: (low, high) => renderDays(from + low, from + high),
    middle(low, high) {
      const turn = turnNear(from + low, from + high, 12) ?? turnNear(from + low, from + high, 1);
      return turn === null ? low + Math.floor((high - low - 1) / 2) : turn - 1 - from;
    },
    covered: (low, high) => high - low + 1,
    mean: (code) => isoOf(from + Math.round(code)),
  };
}
