/**
 * Made-up people like those of the UCI Adult census table: the same eight fields and about the same shares, seeded.
 *
 * Education drives occupation, hours and income; age drives marital status, so that groups can be narrow as in real data.
 */
import type { ClusterDomain } from "../../pipeline/spec/pipeline-spec.ts";
import type { ClusterWindow } from "../../pipeline/stages/desensitize/cluster/group.ts";

const WORKCLASS: readonly (readonly [string, string])[] = [
  ["Private", "Employed"],
  ["Federal-gov", "Employed"],
  ["Local-gov", "Employed"],
  ["State-gov", "Employed"],
  ["Self-emp-not-inc", "Self-employed"],
  ["Self-emp-inc", "Self-employed"],
  ["Without-pay", "No pay"],
  ["Never-worked", "No pay"],
];
const MARITAL: readonly (readonly [string, string])[] = [
  ["Married-civ-spouse", "Married"],
  ["Married-AF-spouse", "Married"],
  ["Married-spouse-absent", "Married"],
  ["Divorced", "Once married"],
  ["Separated", "Once married"],
  ["Widowed", "Once married"],
  ["Never-married", "Single"],
];
const OCCUPATION: readonly (readonly [string, string])[] = [
  ["Prof-specialty", "Office"],
  ["Exec-managerial", "Office"],
  ["Tech-support", "Office"],
  ["Adm-clerical", "Office"],
  ["Sales", "Service"],
  ["Other-service", "Service"],
  ["Protective-serv", "Service"],
  ["Priv-house-serv", "Service"],
  ["Armed-Forces", "Service"],
  ["Craft-repair", "Manual"],
  ["Machine-op-inspct", "Manual"],
  ["Transport-moving", "Manual"],
  ["Handlers-cleaners", "Manual"],
  ["Farming-fishing", "Manual"],
];
const RACE = ["White", "Black", "Asian-Pac-Islander", "Amer-Indian-Eskimo", "Other"];

const OFFICE = [35, 28, 6, 31];
const SERVICE = [45, 41, 8, 2, 1];
const MANUAL = [37, 18, 15, 13, 10];
const EDUCATION = [0.2, 0.5, 1, 2, 1.6, 2.9, 3.6, 1.3, 32.3, 22.4, 4.2, 3.3, 16.4, 5.4, 1.8, 1.1];

export const ADULT_FIELDS: readonly { readonly name: string; readonly domain: ClusterDomain }[] = [
  { name: "age", domain: { kind: "number", range: [17, 90] } },
  { name: "workclass", domain: { kind: "hierarchy", paths: WORKCLASS } },
  { name: "education", domain: { kind: "number", range: [1, 16] } },
  { name: "marital", domain: { kind: "hierarchy", paths: MARITAL } },
  { name: "occupation", domain: { kind: "hierarchy", paths: OCCUPATION } },
  { name: "race", domain: { kind: "hierarchy", paths: RACE.map((race) => [race]) } },
  { name: "sex", domain: { kind: "hierarchy", paths: [["Male"], ["Female"]] } },
  { name: "hours", domain: { kind: "number", range: [1, 99] } },
];

export type Random = () => number;

/** Numbers in [0, 1): mulberry32. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** An index, by weight. */
function pick(random: Random, weights: readonly number[]): number {
  let left = random() * weights.reduce((a, b) => a + b, 0);
  for (const [index, weight] of weights.entries()) {
    left -= weight;
    if (left < 0) return index;
  }
  return weights.length - 1;
}

function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

function within(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, Math.floor(value)));
}

function occupationOf(random: Random, education: number): number {
  const office = education >= 13 ? 80 : education >= 9 ? 38 : 10;
  const kind = pick(random, [office, (100 - office) * 0.4, (100 - office) * 0.6]);
  if (kind === 0) return education >= 13 ? pick(random, [60, 32, 3, 5]) : pick(random, OFFICE);
  return kind === 1 ? 4 + pick(random, SERVICE) : 9 + pick(random, MANUAL);
}

/** Values in the order of ADULT_FIELDS, as texts, and the income class, 0 or 1. */
export function drawPerson(random: Random): { values: string[]; income: number } {
  const age = within(17 + Math.abs(normal(random)) * 14 + random() * 22, 17, 90);
  const workclass = pick(random, [73.6, 3, 6.6, 4.1, 8.1, 3.5, 0.05, 0.05]);
  const education = 1 + pick(random, EDUCATION);
  const young = Math.max(0, 30 - age) * 6;
  const marital = pick(random, [
    46,
    0.1,
    1.3,
    12 + age / 10,
    3,
    Math.max(0, age - 50) / 4,
    22 + young,
  ]);
  const occupation = occupationOf(random, education);
  const race = pick(random, [85.4, 9.6, 3.2, 1, 0.8]);
  const sex = pick(random, marital === 0 ? [89, 11] : [50, 50]);
  const usual = random() < 0.47 ? 40 : 40 + normal(random) * (age < 22 ? 15 : 12);
  const hours = within(age < 22 ? usual - 10 : usual, 1, 99);
  const odds = (education - 10) / 3 + (marital === 0 ? 1.5 : -1.5) + (age - 40) / 25 - 0.9;
  return {
    values: [
      `${age}`,
      WORKCLASS[workclass]?.[0] ?? "",
      `${education}`,
      MARITAL[marital]?.[0] ?? "",
      OCCUPATION[occupation]?.[0] ?? "",
      RACE[race] ?? "",
      sex === 0 ? "Male" : "Female",
      `${hours}`,
    ],
    income: random() < 1 / (1 + Math.exp(-odds)) ? 1 : 0,
  };
}

/** The people of `texts` from one to another as a window, each a subject of their own. */
export function windowOf(
  columns: readonly Float64Array[],
  from: number,
  to: number,
): ClusterWindow {
  return {
    rows: to - from,
    columns: columns.map((column) => column.slice(from, to)),
    subjects: Uint32Array.from({ length: to - from }, (_, row) => row),
    sensitive: null,
  };
}
