/**
 * Random actions for the fuzz: every technique with every kind of parameter, and texts that each is made for.
 */
import type { DetectorSpec, Generalization } from "../../pipeline/spec/pipeline-spec.ts";
import type { Action } from "../plugins/desensitize/one-rule.ts";
import type { Random } from "../plugins/desensitize/random.ts";

const DIGITS = "0123456789";
const ALPHABETS = [
  DIGITS,
  "01",
  "abcdefghijklmnopqrstuvwxyz",
  `${DIGITS}abcdefghijklmnopqrstuvwxyz`,
];
const TABLE = [
  ["10115", "101**"],
  ["", "empty"],
  ["é", 'say "e"\n'],
  ["Berlin", "DE"],
  ["Bern", "CH"],
  ["-1.50", "number"],
] as const;
const LIST = ["Ada", 'Bob "the" Builder', "漢\n", "", "Zoë"];
const PATTERNS: readonly DetectorSpec[] = [
  { name: "secret", pattern: "<[^>]{1,40}>" },
  { name: "employee", pattern: "EMP-\\d{5}" },
  { name: "tag", pattern: "#\\w+;?", ignoreCase: true },
];
/** Few, since compiling one takes a tenth of a second; the host remembers sixteen. */
const REDACTIONS: readonly Action[] = [
  redaction(["email", PATTERNS[0] ?? "email"], { kind: "token", with: "[{type}]" }),
  redaction([PATTERNS[0] ?? "email"], { kind: "mask", with: "█" }),
  redaction(["card", "ip", "url"], { kind: "token", with: "" }),
  redaction(["date", "ssn", "mac"], { kind: "token", with: "<{type}é>" }),
  redaction(PATTERNS, { kind: "mask", with: "*" }),
];

function redaction(
  detectors: readonly DetectorSpec[],
  replacement: Extract<Action, { action: "redact" }>["replacement"],
): Action {
  return { action: "redact", detectors, replacement };
}

function randomGeneralization(random: Random): Generalization {
  switch (random.int(6)) {
    case 0:
      return { width: random.pick([1, 3, 10, 65_537, 1_000_000_000, 10 ** 15 - 1]) };
    case 1:
      return { bounds: random.pick([[0], [18, 65], [-5, 0, 18, 19, 65], [-(10 ** 14), 10 ** 14]]) };
    case 2:
    case 3:
      return { date: random.pick(["month", "year", "decade"] as const) };
    case 4:
      return { prefix: 1 + random.int(5) };
    default:
      return { table: TABLE, unknown: random.pick(["*", null]) };
  }
}

function randomForm(random: Random) {
  const form = {
    encoding: random.pick(["hex", "base64url"] as const),
    bits: 8 * (4 + random.int(29)),
  };
  return random.chance(0.3) ? undefined : form;
}

function randomMask(random: Random): Action {
  const kept = (): number => (random.chance(0.05) ? 4_294_967_295 : random.int(5));
  return {
    ...{ action: "mask", keepFirst: kept(), keepLast: kept() },
    with: random.pick(["*", "•", "😀", '"', "\\", "\u0002"]),
  };
}

/** Any action but those that need a place of their own: `cluster`. */
export function randomAction(random: Random): Action {
  const key = { env: random.pick(["A", "B"]) };
  switch (random.int(18)) {
    case 0:
      return { action: "drop" };
    case 1:
    case 2:
      return { action: "keep" };
    case 3:
    case 4:
      return randomMask(random);
    case 5:
      return {
        action: "replace",
        with: random.pick(["gone", "", 'say "x"\\\n\u0001', "é".repeat(300)]),
      };
    case 6:
    case 7:
      return {
        action: "pseudonymize",
        key,
        keyId: random.pick([undefined, "k_2"]),
        form: randomForm(random),
      };
    case 8:
      return { action: "hash", form: randomForm(random) };
    case 9:
    case 10:
    case 11:
      return { action: "generalize", to: randomGeneralization(random) };
    case 12:
      return { action: "pick", from: LIST.slice(0, 1 + random.int(LIST.length)), key };
    case 13:
      return { action: "fake", key };
    case 14:
      return {
        action: "fpe",
        key: { env: "A" },
        alphabet: random.pick(ALPHABETS),
        tweak: random.pick(["", "a.b"]),
      };
    case 15:
      return randomNoise(random, key);
    default:
      return random.pick(REDACTIONS);
  }
}

function randomNoise(random: Random, key: { readonly env: string }): Action {
  const noise = random.pick(["laplace", "gaussian"] as const);
  const scale = random.pick([0.001, 1, 1000]);
  return {
    action: "perturb",
    key,
    noise,
    scale,
    within: scale * random.pick([1, 5, 20]),
    decimals: random.int(7),
  };
}

const NUMBERS = [
  ...[
    "0",
    "-0",
    "1",
    "-1",
    "12",
    "39.99999999999999999999",
    "-0.001",
    "1e3",
    "1E+3",
    "12e-1",
    "0e0",
    "0.0e-5",
    "1.50",
  ],
  ...[
    "9007199254740993",
    "123456789012345678901234567890",
    "1e400",
    "-1e99999999999999999999",
    "1e-99999999999999999999",
  ],
  ...[
    "999999999999999",
    "1e15",
    "999999999999999.5",
    "-999999999999999.5",
    "0.00039e5",
    "0e99999999999",
    "1e11",
    "-9.5e11",
  ],
  ...[
    "1.0000000000000000000000001",
    "4111111111111111",
    "20260101",
    "5e-324",
    "1.7976931348623157e309",
  ],
];
/** Numbers to JSON's eye they are not. */
const NO_NUMBERS = [
  "00",
  "+1",
  "0x10",
  "1.",
  ".5",
  "NaN",
  "Infinity",
  " 1",
  "1 ",
  "",
  "1e",
  "٣",
  "1_0",
];
const DATES = [
  ...[
    "1984-02-29",
    "1983-02-29",
    "2026-11-05T08:15:30.123-05:30",
    "2000-02-29T23:59:60Z",
    "0000-02-29",
    "1900-02-29",
  ],
  ...[
    "2026-11-05T10:00",
    "2026-11-05T24:00",
    "2026-11-05T10:00:00,5",
    "2026-13-01",
    "2026-1-1",
    "2026-11-05Leonard",
    "１984-01-01",
  ],
];
const FREE = [
  ...[
    "ada@example.com",
    "see <secret>, thanks",
    "EMP-12345",
    "4111 1111 1111 1111",
    "192.0.2.7",
    "2001:db8::1",
    "#tag;",
  ],
  ...[
    "https://example.com/?q=1",
    "29.02.1984",
    "078-05-1120",
    "00:1b:44:11:3a:b7",
    "a <b> c <d>",
    'say "x@y.org"\\',
    "é😀 漢",
  ],
];

/** The spelling of a number, often an odd one. */
export function numberText(random: Random): string {
  if (random.chance(0.4)) return random.pick(NUMBERS);
  const text = `${random.chance(0.3) ? "-" : ""}${random.int(10 ** random.int(10))}`;
  if (random.chance(0.6)) return text;
  const fraction = random.chance(0.5) ? `.${random.int(1000)}` : "";
  return `${text}${fraction}${random.chance(0.3) ? `e${random.int(30) - 15}` : ""}`;
}

/** A text that the rule is made for, if it is made for one. */
export function fittingText(action: Action, random: Random): string | null {
  if (action.action === "redact") return random.pick(FREE);
  if (action.action === "fpe") {
    const length = random.pick([5, 6, 12, 20, 20, 24, 40]);
    return Array.from({ length }, () => random.pick([...action.alphabet])).join("");
  }
  if (action.action !== "generalize") return null;
  const { to } = action;
  if ("date" in to) return random.pick(DATES);
  if ("table" in to) return random.pick(TABLE)[0];
  if ("prefix" in to) return null;
  return random.chance(0.1) ? random.pick(NO_NUMBERS) : numberText(random);
}
