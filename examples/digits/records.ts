/**
 * The demo's input: every handwritten digit inside a form with a made-up person around it.
 *
 * Deterministic: the same seed gives the same forms on every machine, as long as @faker-js/faker keeps its version.
 * Nobody in here exists. Names come from several languages and scripts, and the free-text note repeats the person's
 * own e-mail, phone or name, because that is what people write into free text.
 */
import { createHash } from "node:crypto";
import { gunzipSync } from "node:zlib";
import type { Faker } from "@faker-js/faker";
import { faker as german } from "@faker-js/faker/locale/de";
import { faker as greek } from "@faker-js/faker/locale/el";
import { faker as english } from "@faker-js/faker/locale/en";
import { faker as spanish } from "@faker-js/faker/locale/es";
import { faker as french } from "@faker-js/faker/locale/fr";
import { faker as japanese } from "@faker-js/faker/locale/ja";
import { faker as polish } from "@faker-js/faker/locale/pl";
import { faker as ukrainian } from "@faker-js/faker/locale/uk";
import { faker as chinese } from "@faker-js/faker/locale/zh_CN";

/** One raw record, as `form.schema.json` says. */
export interface DigitForm {
  readonly formId: string;
  readonly name: string;
  readonly email: string;
  readonly phone: string;
  readonly postcode: string;
  /** YYYY-MM-DD */
  readonly birthDate: string;
  readonly note: string;
  /** 64 grey values 0..16, row by row. */
  readonly pixels: readonly number[];
  /** Absent in a form to predict. */
  readonly digit?: number;
}

export interface DigitRecord {
  readonly form: DigitForm;
  /** What the digit really is, labelled or not: for measuring only, it never enters the pipeline. */
  readonly truth: number;
}

const PIXELS = 64;
/** One form in five carries no label. */
const UNLABELLED_SHARE = 0.2;
/** Values below 8 bytes occur by chance; the marker scan does not look for them. */
const MARKER_BYTES = 8;
const LOCALES: readonly Faker[] = [
  english,
  german,
  french,
  spanish,
  polish,
  ukrainian,
  greek,
  japanese,
  chinese,
];
/** Ages are counted from this day, so that birth dates do not depend on when the demo runs. */
const REFERENCE_DAY = "2026-01-01T00:00:00.000Z";

const NOTES: readonly ((person: Pick<DigitForm, "name" | "email" | "phone">) => string)[] = [
  ({ email }) => `Please answer to ${email}, the other address is dead.`,
  ({ phone }) => `Call me back: ${phone} (after 6 p.m.)`,
  ({ name, phone }) => `"${name}" is the name on the door.\nPhone\t${phone}`,
  ({ name, email }) => `Best regards — ${name} <${email}>`,
  ({ name }) => `Ich heiße ${name} und möchte nichts weiter sagen 🙂`,
  ({ email, phone }) => `{"contact": {"mail": "${email}", "tel": "${phone}"}}`,
  ({ name }) => `C:\\Users\\${name}\\scan.png / 手書き数字`,
];

/**
 * Every digit of the file as a form, in the file's order.
 * @param csvGz gzip of lines of 64 pixels 0..16 and a label 0..9, without a header
 * @param seed of the made-up people
 * @throws Error when the file is not that: it lies beside this code
 */
export function digitRecords(options: {
  readonly csvGz: Uint8Array;
  readonly seed: number;
}): DigitRecord[] {
  const lines = gunzipSync(options.csvGz).toString("latin1").trimEnd().split("\n");
  for (const [index, locale] of LOCALES.entries()) locale.seed(options.seed + index);
  const unlabelled = chooseUnlabelled(lines.length, options.seed);
  const addresses = new Set<string>();
  return lines.map((line, index) => {
    const numbers = line.split(",").map(Number);
    const truth = numbers[PIXELS];
    const pixels = numbers.slice(0, PIXELS);
    if (numbers.length !== PIXELS + 1 || truth === undefined || !isDigit(pixels, truth)) {
      throw new Error(`line ${index + 1} is not 64 numbers 0..16 and a digit`);
    }
    const locale = LOCALES[index % LOCALES.length] ?? english;
    const person = makePerson(locale, index, addresses);
    const form = { formId: `form-${String(index + 1).padStart(6, "0")}`, ...person, pixels };
    return { form: !unlabelled.has(index) ? { ...form, digit: truth } : form, truth };
  });
}

/** The values of a form that must never be seen outside `raw`: those of 8 bytes or more. */
export function markersOf(form: DigitForm): string[] {
  return [form.email, form.phone, form.note, form.name].filter(
    (value) => Buffer.byteLength(value) >= MARKER_BYTES,
  );
}

/** Chosen by hash, because the file's digits follow a pattern that every fifth line would pick one digit of. */
function chooseUnlabelled(records: number, seed: number): ReadonlySet<number> {
  const rank = (index: number) => createHash("sha256").update(`${seed}/${index}`).digest("hex");
  const order = Array.from({ length: records }, (_, index) => ({ index, rank: rank(index) }));
  order.sort((a, b) => (a.rank < b.rank ? -1 : 1));
  return new Set(order.slice(0, Math.floor(records * UNLABELLED_SHARE)).map(({ index }) => index));
}

function isDigit(pixels: readonly number[], truth: number): boolean {
  const inRange = (value: number, most: number) =>
    Number.isInteger(value) && value >= 0 && value <= most;
  return pixels.every((pixel) => inRange(pixel, 16)) && inRange(truth, 9);
}

function makePerson(faker: Faker, index: number, addresses: Set<string>) {
  const firstName = faker.person.firstName();
  const lastName = faker.person.lastName();
  const name = longEnough(faker.person.fullName({ firstName, lastName }), () =>
    faker.person.middleName(),
  );
  // Addresses are ASCII in every locale; the index keeps a person to one form, so that records are people.
  const email = faker.internet.email({ firstName, lastName }).toLowerCase();
  const unique = addresses.has(email) ? email.replace("@", `.${index}@`) : email;
  addresses.add(unique);
  const phone = faker.phone.number({ style: "international" });
  const birth = faker.date.birthdate({ min: 18, max: 90, mode: "age", refDate: REFERENCE_DAY });
  const note = NOTES[faker.number.int({ max: NOTES.length - 1 })] ?? NOTES[0];
  return {
    name,
    email: unique,
    phone,
    postcode: faker.location.zipCode(),
    birthDate: birth.toISOString().slice(0, 10),
    note: note?.({ name, email: unique, phone }) ?? "",
  };
}

/** Short names (two or three signs in Chinese) get another given name until they are worth looking for. */
function longEnough(name: string, another: () => string): string {
  let long = name;
  while (Buffer.byteLength(long) < MARKER_BYTES) long = `${long} ${another()}`;
  return long;
}
