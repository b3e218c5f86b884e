/**
 * How fast free text is redacted: the detectors against one combined RegExp and Presidio's pattern recognizers.
 *
 * The same texts and types for all, in turns. Two kinds of text: support tickets, where every line has something to
 * find, and prose with something in every twentieth line. We and the RegExp write the redacted text; Presidio only says what
 * it found. A second table says how many of the values that were put in each of them covers.
 */
import { faker } from "@faker-js/faker";
import type { DetectType } from "../pipeline/spec/pipeline-spec.ts";
import { BUILTIN_TYPES } from "../pipeline/stages/desensitize/detect/builtin.ts";
import { compileDetectors } from "../pipeline/stages/desensitize/detect/compile.ts";
import { encodeDetectors } from "../pipeline/stages/desensitize/detect/encode.ts";
import { packBatch } from "../pipeline/wasm/columns.ts";
import { createRegExpRedactor, EVERY_SHAPE, type Shape } from "./lib/detect-regexp.ts";
import { PRESIDIO, PRESIDIO_VERSION, type Presidio, startPresidio } from "./lib/presidio.ts";
import { type BenchOptions, type BenchOutcome, type BenchRow, rowOf } from "./lib/report.ts";
import { type Contender, measure } from "./lib/rounds.ts";
import { createDetectKernel } from "./lib/wasm-detect.ts";

const LINES = 500;
const BYTES_PER_MB = 1e6;
const REGEXP = "combined JS RegExp";
/** The four types of the first measurement (findings/wasm.md), beside all; Presidio has no pattern for telephones. */
const FEW: readonly DetectType[] = ["email", "card", "ssn", "phone"];
const FEW_SHAPES: readonly Shape[] = ["email", "card", "ssn", "phone"];

/** A text, and the value to find that was put in it. */
interface Line {
  readonly text: string;
  readonly planted: string | null;
}

const VALUES: Readonly<Record<"few" | "all", readonly (() => string)[]>> = {
  few: [
    () => faker.internet.email(),
    () => faker.finance.creditCardNumber(),
    () => `${faker.number.int({ min: 100, max: 665 })}-${faker.string.numeric(2)}-4321`,
  ],
  all: [
    () => faker.internet.email(),
    () => faker.finance.creditCardNumber(),
    () => faker.finance.iban({ formatted: true }),
    () => faker.internet.ipv4(),
    () => faker.internet.mac(),
    () => faker.internet.url(),
    () => faker.date.birthdate().toISOString().slice(0, 10),
  ],
};

function ticket(types: "few" | "all"): Line {
  const planted = faker.helpers.arrayElement(VALUES[types])();
  const text = `${faker.lorem.sentence({ min: 6, max: 12 })} ${planted}, ${faker.string.numeric(6)}. ${faker.lorem.sentence()}`;
  return { text, planted };
}

function prose(types: "few" | "all", line: number): Line {
  return line % 20 === 0 ? ticket(types) : { text: faker.lorem.paragraph(2), planted: null };
}

interface Case {
  readonly name: string;
  readonly lines: readonly Line[];
  readonly types: "few" | "all";
}

/** Percent of the planted values that are wholly gone. */
function shareGone(lines: readonly Line[], isGone: (line: Line, i: number) => boolean): number {
  const planted = lines.map((line, i) => ({ line, i })).filter(({ line }) => line.planted !== null);
  return (100 * planted.filter(({ line, i }) => isGone(line, i)).length) / planted.length;
}

async function presidioShare(lines: readonly Line[], presidio: Presidio): Promise<number> {
  const spans = await presidio.spans();
  return shareGone(lines, ({ text, planted }, i) => {
    const start = text.indexOf(planted ?? "");
    const end = start + (planted ?? "").length;
    return (spans[i] ?? []).some(([from, to]) => from <= start && to >= end);
  });
}

async function benchCase(
  { name, lines, types }: Case,
  { rounds, turnMs }: { readonly rounds: number; readonly turnMs: number },
  presidios: ReadonlyMap<string, Presidio>,
): Promise<BenchRow[]> {
  const texts = lines.map(({ text }) => text);
  const detectors = compileDetectors(types === "few" ? FEW : BUILTIN_TYPES);
  const kernel = createDetectKernel("desensitize", encodeDetectors(detectors));
  if (kernel === null) throw new Error("the guest refused its detectors");
  const redact = createRegExpRedactor(types === "few" ? FEW_SHAPES : EVERY_SHAPE);
  const batch = packBatch([texts.map((text) => Buffer.from(text))], 0, texts.length);
  const bytes = batch.columns[0]?.data.length ?? 0;
  const contenders: Contender[] = [
    { name: "wasm", run: () => kernel.redactPacked(batch) },
    { name: REGEXP, run: () => texts.map(redact) },
  ];
  for (const [named, presidio] of presidios) {
    contenders.push({ name: named, run: () => presidio.run() });
  }
  const speeds = await measure(contenders, { unitsPerRun: bytes / BYTES_PER_MB, rounds, turnMs });
  const ours = kernel.redact(texts);
  const gone = (outputs: readonly string[]) =>
    shareGone(lines, ({ planted }, i) => !outputs[i]?.includes(planted ?? ""));
  const found: Record<string, number> = { [REGEXP]: gone(texts.map(redact)) };
  for (const [named, presidio] of presidios) found[named] = await presidioShare(lines, presidio);
  const { wasm, ...peers } = Object.fromEntries(speeds);
  const about = { unit: "MB/s", rounds };
  const shares = { unit: "% of planted values found", rounds: 1 };
  return [
    rowOf({ case: name, ...about }, wasm!, peers),
    rowOf({ case: name, ...shares }, gone(ours), found),
  ];
}

export async function bench({ quick }: BenchOptions): Promise<BenchOutcome> {
  const how = quick ? { rounds: 5, turnMs: 120 } : { rounds: 11, turnMs: 300 };
  faker.seed(5);
  const cases = (["all", "few"] as const).flatMap((types): Case[] => {
    const words = types === "all" ? "all types" : "e-mail, card, SSN, phone";
    return [
      {
        name: `tickets, ${words}`,
        lines: Array.from({ length: LINES }, () => ticket(types)),
        types,
      },
      {
        name: `prose, ${words}`,
        lines: Array.from({ length: LINES }, (_, i) => prose(types, i)),
        types,
      },
    ];
  });
  const missing = new Set<string>();
  const rows: BenchRow[] = [];
  for (const one of cases) {
    const texts = one.lines.map(({ text }) => text);
    const presidios = new Map<string, Presidio>();
    try {
      presidios.set(`${PRESIDIO}, patterns`, await startPresidio(texts, one.types, false));
      presidios.set(`${PRESIDIO}, phone too`, await startPresidio(texts, one.types, true));
    } catch {
      // Because no Python, no registry or no wheel for this machine is a peer that is missing, not a failure.
      missing.add(`${PRESIDIO} ${PRESIDIO_VERSION}: could not be installed or run with python3`);
    }
    rows.push(...(await benchCase(one, how, presidios)));
    for (const presidio of presidios.values()) presidio.stop();
  }
  return {
    packages: ["@faker-js/faker", "assemblyscript"],
    versions: { [PRESIDIO]: PRESIDIO_VERSION },
    rows,
    missing: [...missing],
  };
}
