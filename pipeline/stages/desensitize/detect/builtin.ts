/**
 * The detectors that need no pattern of the user's: what each type looks like, and which check its matches must pass.
 *
 * The shapes are patterns of the same subset that users have; checks that no automaton does (check digits, calendars,
 * lengths by country) are in the guest by the numbers of VALIDATORS. Shapes err on the side of finding: what is found
 * wrongly is a word less, what is not found is a person.
 */
import { DETECT_TYPES } from "../../../../schemas/desensitize-rules.ts";
import { DATE_PATTERNS } from "./builtin-dates.ts";
import { PHONE_PATTERNS } from "./builtin-phones.ts";

/** What a match must pass beside its shape; numbers as in plugins/desensitize/assembly/detect/validators.ts. */
export const VALIDATORS = {
  none: 0,
  card: 1,
  iban: 2,
  ssn: 3,
  ipv6: 4,
  dateYearFirst: 5,
  dateDayFirst: 6,
  dateSlashes: 7,
  deTaxId: 8,
  cnId: 9,
  phoneInternational: 10,
  phoneTrunk: 11,
} as const;

/**
 * A match that one of these joins to a digit outside it (to a hexadecimal one for `:`) is part of something longer and
 * does not count.
 */
export const JOINERS = { ".": 1, "-": 2, ":": 4, "/": 8 } as const;

export interface Shape {
  readonly pattern: string;
  readonly ignoreCase?: boolean;
  readonly validator?: keyof typeof VALIDATORS;
  readonly joiners?: readonly (keyof typeof JOINERS)[];
}

/** Letters of Latin, Greek and Cyrillic script beyond ASCII: the word characters of the guest. */
const LETTER = "\\u00c0-\\u00d6\\u00d8-\\u00f6\\u00f8-\\u04ff";
/** Everything that takes three bytes or more, without spaces, general punctuation, and the forms of CJK and full width. */
const WIDE =
  "\\u0900-\\u1fff\\u2c00-\\u2dff\\u3005-\\u3007\\u3040-\\ua4ff\\ua500-\\ud7ff\\uf900-\\ufaff";
/** Hebrew, Arabic and their neighbours: two bytes, but written without spaces before what is theirs. */
const OTHER = "\\u0500-\\u0605\\u0610-\\u061a\\u0620-\\u06d3\\u06d5-\\u08ff";
const ATEXT = `a-zA-Z0-9!#$%&'*+\\/=?^_\`{|}~\\-${LETTER}`;

/**
 * RFC 5322 dot-atom with the letters of RFC 6531; an atom is of one kind of script, since Chinese has no space before an
 * address. A domain label likewise; the last has no digit. Lengths are not judged: an address too long is still one.
 */
const LABEL = `(?:[a-zA-Z0-9${LETTER}](?:[a-zA-Z0-9${LETTER}\\-]*[a-zA-Z0-9${LETTER}])?|[${WIDE}${OTHER}]+)`;
const LAST_LABEL = `(?:[a-zA-Z${LETTER}]{2,}|[xX][nN]--[a-zA-Z0-9\\-]*[a-zA-Z0-9]|[${WIDE}${OTHER}]+)`;
const DOMAIN = `(?:${LABEL}\\.)+${LAST_LABEL}`;
/** RFC 5321 Quoted-string; its length is not judged either. */
const QUOTED_EMAIL = `"(?:[^"\\\\\\u0000-\\u001f]|\\\\[ -~])+"@${DOMAIN}`;
const EMAIL = `(?:[a-zA-Z0-9_+${LETTER}][.${ATEXT}]*|[${WIDE}${OTHER}]+)@${DOMAIN}`;

/** What may stand in a URL after its host, and what it may end with. */
const URL_BODY = "[a-zA-Z0-9!#$%&'()*+,\\-.\\/:;=?@_~\\[\\]{}|\\u00a1-\\u07ff]";
const URL_END = "[a-zA-Z0-9#$%&*+\\-\\/=@_~\\u00c0-\\u07ff]";
/** Scripts without spaces count as a value in a query only: elsewhere the sentence goes on in them. */
const URL_VALUE = `=[${WIDE}]+`;
const URL_REST = `(?:${URL_BODY}|${URL_VALUE})*(?:${URL_END}|${URL_VALUE})`;
const OCTET = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const IPV4 = `${OCTET}(?:\\.${OCTET}){3}`;
const HEX2 = "[0-9a-fA-F]{2}";
const GAP = "[ \\-\\u00a0]?";

/** The types in the order in which they win where two find the very same bytes. */
export const BUILTIN_TYPES = DETECT_TYPES;
export type BuiltinType = (typeof BUILTIN_TYPES)[number];

const NUMBER_JOINERS = [".", "-"] as const;

export const BUILTIN_SHAPES: Readonly<Record<BuiltinType, readonly Shape[]>> = {
  "cn-id": [{ pattern: "[1-9]\\d{16}[0-9xX]", validator: "cnId", joiners: NUMBER_JOINERS }],
  "de-tax-id": [
    {
      pattern: "[1-9]\\d(?:\\d{9}|[ \\u00a0]\\d{3}[ \\u00a0]\\d{3}[ \\u00a0]\\d{3})",
      validator: "deTaxId",
      joiners: NUMBER_JOINERS,
    },
  ],
  iban: [{ pattern: `[a-zA-Z]{2}\\d\\d(?:${GAP}[a-zA-Z0-9]){11,30}`, validator: "iban" }],
  card: [
    {
      // 12 to 19 digits in groups of four or more, a shorter one last: 4-4-4-4, 4-6-5, 4-4-4-4-3.
      pattern: `[1-9]\\d{3,18}(?:${GAP}\\d{4,15}){0,4}(?:${GAP}\\d{1,3})?`,
      validator: "card",
      joiners: NUMBER_JOINERS,
    },
  ],
  ssn: [
    {
      pattern: "\\d{3}(?:-\\d\\d-| \\d\\d |\\.\\d\\d\\.)\\d{4}",
      validator: "ssn",
      joiners: [".", "-", "/"],
    },
  ],
  date: DATE_PATTERNS,
  ip: [
    { pattern: IPV4, joiners: ["."] },
    {
      pattern: `[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,8}(?:\\d{0,2}(?:\\.\\d{1,3}){3})?`,
      validator: "ipv6",
      joiners: [":", "."],
    },
  ],
  mac: [
    { pattern: `${HEX2}(?::${HEX2}){5}`, joiners: [":"] },
    { pattern: `${HEX2}(?:-${HEX2}){5}`, joiners: ["-"] },
    { pattern: "[0-9a-fA-F]{4}\\.[0-9a-fA-F]{4}\\.[0-9a-fA-F]{4}", joiners: ["."] },
  ],
  url: [
    {
      pattern: `(?:https?|ftps?|wss?):\\/\\/${URL_REST}`,
      ignoreCase: true,
    },
    {
      pattern: `www\\.(?:[a-z0-9\\-]+\\.)+[a-z]{2,}(?::\\d{1,5})?(?:[\\/?#](?:${URL_REST})?)?`,
      ignoreCase: true,
    },
  ],
  email: [{ pattern: EMAIL }, { pattern: QUOTED_EMAIL }],
  phone: PHONE_PATTERNS,
};
