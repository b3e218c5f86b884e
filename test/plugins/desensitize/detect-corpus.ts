/**
 * A labelled corpus: sentences in fifteen locales, filled by @faker-js/faker and Intl from a seed, with the place of every
 * value that a detector should find, and with numbers and names beside them that none should.
 *
 * Formats come from faker, Intl and everyday use, not from the detectors' patterns: what is made here and not found
 * counts against them.
 */
import {
  type Faker,
  fakerCS_CZ,
  fakerDE,
  fakerEN_GB,
  fakerEN_IN,
  fakerEN_US,
  fakerES,
  fakerFR,
  fakerIT,
  fakerJA,
  fakerNL,
  fakerPL,
  fakerPT_BR,
  fakerSV,
  fakerTR,
  fakerZH_CN,
} from "@faker-js/faker";
import type { BuiltinType } from "../../../pipeline/stages/desensitize/detect/builtin.ts";

/** Bytes start..end of a text are of a type. */
export interface Label {
  readonly start: number;
  readonly end: number;
  readonly type: BuiltinType;
}

export interface LabelledText {
  readonly locale: string;
  readonly text: string;
  readonly labels: readonly Label[];
}

interface Language {
  readonly locale: string;
  readonly faker: Faker;
  /** Styles of Intl whose dates have no words, where month names are of no language that is promised. */
  readonly dates: readonly ("short" | "medium" | "long")[];
  /** `{type}` is a value to find, `{other}` one that is none. */
  readonly sentences: readonly string[];
}

const LANGUAGES: readonly Language[] = [
  {
    locale: "en-US",
    faker: fakerEN_US,
    dates: ["short", "medium", "long"],
    sentences: [
      "{name} (born {date}) wrote from {email}, SSN {ssn}.",
      "Call me at {phone} or see {url} for order {order}.",
      "Card {card} was charged {price} for version {version}; host {ip}, adapter {mac}.",
      "Wire it to {iban} before {time}, reference {order}.",
      "{lorem} {email}; {phone}, {name}.",
    ],
  },
  {
    locale: "en-GB",
    faker: fakerEN_GB,
    dates: ["short", "medium", "long"],
    sentences: [
      "Ring {phone} after {time}.",
      "{name}, DOB: {date}, IBAN {iban}, room {small}.",
      "{url} - {email}",
    ],
  },
  {
    locale: "en-IN",
    faker: fakerEN_IN,
    dates: ["short", "long"],
    sentences: [
      "Mobile: {phone}, mail: {email}.",
      "{name} was born on {date} in ward {small}, bill {price}.",
    ],
  },
  {
    locale: "de-DE",
    faker: fakerDE,
    dates: ["short", "medium", "long"],
    sentences: [
      "{name}, geboren am {date}, Steuer-ID {de-tax-id}, E-Mail: {email}.",
      "Rückruf unter {phone} zur Bestellung {order} über {price} €.",
      "Überweisung auf {iban}, Karte {card}, Rechner {ip} ({mac}).",
      "Größe {small} m², Straße Nr. {small}, siehe {url}! {lorem}",
    ],
  },
  {
    locale: "fr-FR",
    faker: fakerFR,
    dates: ["short", "medium", "long"],
    sentences: [
      "{name} est né le {date} ; son courriel est {email}.",
      "Appelez le {phone} avant {time}, dossier n°{order}, {price} €.",
      "Compte {iban}, carte {card}. Voir {url}.",
    ],
  },
  {
    locale: "es-ES",
    faker: fakerES,
    dates: ["short", "medium", "long"],
    sentences: [
      "{name}, nacido el {date}, teléfono {phone}, correo {email}.",
      "Pedido {order} por {price} €, tarjeta {card}, cuenta {iban}.",
      "Versión {version} en {ip}; ¿quién? {lorem}",
    ],
  },
  {
    locale: "it-IT",
    faker: fakerIT,
    dates: ["short", "medium", "long"],
    sentences: [
      "{name}, nata il {date}, cellulare {phone}, posta {email}.",
      "Ordine {order} da {price} €, conto {iban}, visita {url}.",
    ],
  },
  {
    locale: "nl-NL",
    faker: fakerNL,
    dates: ["short", "medium", "long"],
    sentences: [
      "{name} ({date}) is bereikbaar op {phone} of {email}.",
      "Rekening {iban}, bestelling {order}.",
    ],
  },
  {
    locale: "pt-BR",
    faker: fakerPT_BR,
    dates: ["short", "medium", "long"],
    sentences: [
      "{name}, nascido em {date}, telefone {phone}, e-mail {email}.",
      "Pedido {order}, cartão {card}.",
    ],
  },
  {
    locale: "zh-CN",
    faker: fakerZH_CN,
    dates: ["short", "long"],
    sentences: [
      "{name}，{date}出生，身份证号{cn-id}，手机{phone}。",
      "请发邮件到{email}，订单号{order}，金额{price}元。",
      "网址{url} ，卡号{card}，服务器{ip}。",
    ],
  },
  {
    locale: "pl-PL",
    faker: fakerPL,
    dates: ["short", "medium", "long"],
    sentences: [
      "{name}, ur. {date}, tel. {phone}, e-mail: {email}.",
      "Przelew na {iban}, zamówienie {order}, {price} zł; {url}",
    ],
  },
  {
    locale: "tr-TR",
    faker: fakerTR,
    dates: ["short", "medium", "long"],
    sentences: [
      "{name}, doğum tarihi {date}, telefon {phone}, e-posta {email}.",
      "Sipariş {order}, kart {card}, hesap {iban}.",
    ],
  },
  {
    locale: "sv-SE",
    faker: fakerSV,
    dates: ["short", "medium", "long"],
    sentences: [
      "{name}, född {date}, telefon {phone}, e-post {email}.",
      "Konto {iban}, order {order}, {price} kr.",
    ],
  },
  {
    locale: "cs-CZ",
    faker: fakerCS_CZ,
    dates: ["short", "medium", "long"],
    sentences: [
      "{name}, nar. {date}, telefon {phone}, e-mail {email}.",
      "Účet {iban}, objednávka {order}, {price} Kč.",
    ],
  },
  {
    locale: "ja-JP",
    faker: fakerJA,
    dates: ["short", "medium", "long"],
    sentences: [
      "{name}、{date}生まれ、電話{phone}、メール{email}。",
      "注文{order}、カード{card}、{url} です。",
    ],
  },
];

function deTaxId(faker: Faker): string {
  const digits = faker.helpers.shuffle([..."0123456789"]).slice(0, 9);
  digits.push(faker.helpers.arrayElement(digits));
  const body = faker.helpers.shuffle(digits);
  while (body[0] === "0") body.push(body.shift() ?? "");
  let product = 10;
  for (const digit of body) product = (((Number(digit) + product) % 10 || 10) * 2) % 11;
  const id = `${body.join("")}${(11 - product) % 10}`;
  return faker.datatype.boolean() ? id : id.replace(/(..)(...)(...)(...)/, "$1 $2 $3 $4");
}

function cnId(faker: Faker): string {
  const region = faker.helpers.arrayElement(["110105", "310101", "440524", "510104", "330102"]);
  const born = faker.date.birthdate().toISOString().slice(0, 10).replaceAll("-", "");
  const body = `${region}${born}${faker.string.numeric(3)}`;
  const sum = [...body].reduce(
    (total, digit, i) => total + Number(digit) * (2 ** (17 - i) % 11),
    0,
  );
  return body + "10X98765432"[sum % 11];
}

function ssn(faker: Faker): string {
  const area = faker.helpers.arrayElement([
    faker.number.int({ min: 1, max: 665 }),
    faker.number.int({ min: 667, max: 899 }),
  ]);
  return [
    String(area).padStart(3, "0"),
    String(faker.number.int({ min: 1, max: 99 })).padStart(2, "0"),
    String(faker.number.int({ min: 1, max: 9999 })).padStart(4, "0"),
  ].join("-");
}

function dateOf({ faker, locale, dates }: Language): string {
  const born = faker.date.birthdate();
  if (faker.number.int(4) === 0) return born.toISOString().slice(0, 10);
  const dateStyle = faker.helpers.arrayElement(dates);
  return new Intl.DateTimeFormat(locale, { dateStyle, timeZone: "UTC" }).format(born);
}

function urlOf(faker: Faker): string {
  const base = faker.internet.url({ appendSlash: false });
  return faker.helpers.arrayElement([
    base,
    `${base}/${faker.lorem.slug()}`,
    `${base}/${faker.system.commonFileName()}?id=${faker.number.int(999)}&q=${faker.lorem.word()}`,
    `www.${faker.internet.domainName()}`,
  ]);
}

/** Values to find, by type. */
function labelledValue(language: Language, type: BuiltinType): string {
  const { faker } = language;
  switch (type) {
    case "email":
      return faker.internet.email({ allowSpecialCharacters: faker.number.int(9) === 0 });
    case "phone":
      return faker.phone.number({
        style: faker.helpers.arrayElement(["human", "national", "international"]),
      });
    case "card":
      return faker.finance.creditCardNumber();
    case "iban":
      return faker.finance.iban({ formatted: faker.datatype.boolean() });
    case "ip":
      return faker.internet.ip();
    case "mac":
      return faker.internet.mac({ separator: faker.helpers.arrayElement([":", "-"]) });
    case "url":
      return urlOf(faker);
    case "date":
      return dateOf(language);
    case "ssn":
      return ssn(faker);
    case "de-tax-id":
      return deTaxId(faker);
    case "cn-id":
      return cnId(faker);
  }
}

/** What no detector should find. */
const OTHERS: Readonly<Record<string, (faker: Faker) => string>> = {
  name: (faker) => faker.person.fullName(),
  order: (faker) =>
    faker.helpers.arrayElement([
      faker.string.numeric({ length: { min: 4, max: 8 } }),
      `A-${faker.string.numeric(6)}`,
      faker.string.uuid(),
      faker.string.alphanumeric(10),
      faker.commerce.isbn(),
      faker.string.numeric({ length: { min: 13, max: 16 } }),
    ]),
  price: (faker) => faker.commerce.price({ max: 99_999 }),
  version: (faker) => faker.system.semver(),
  time: (faker) =>
    `${faker.number.int({ min: 0, max: 23 })}:${faker.number.int({ min: 10, max: 59 })}`,
  small: (faker) => String(faker.number.int(999)),
  lorem: (faker) => faker.lorem.sentence(),
};

function fill(language: Language, sentence: string): LabelledText {
  let text = "";
  const labels: Label[] = [];
  for (const part of sentence.split(/(\{[a-z-]+\})/)) {
    const slot = /^\{(.*)\}$/.exec(part)?.[1];
    const other = slot === undefined ? () => part : OTHERS[slot];
    if (other !== undefined) {
      text += other(language.faker);
      continue;
    }
    const start = Buffer.byteLength(text);
    // Because what is in braces and none of the others is a type.
    const type = slot as BuiltinType;
    text += labelledValue(language, type);
    labels.push({ start, end: Buffer.byteLength(text), type });
  }
  return { locale: language.locale, text, labels };
}

/** `perSentence` texts of each sentence; the same for the same seed and version of faker. */
export function makeCorpus(seed: number, perSentence: number): LabelledText[] {
  return LANGUAGES.flatMap((language) => {
    language.faker.seed(seed);
    language.faker.setDefaultRefDate("2026-01-01T00:00:00.000Z");
    return language.sentences.flatMap((sentence) =>
      Array.from({ length: perSentence }, () => fill(language, sentence)),
    );
  });
}
