/**
 * The rules of the pipeline file's `desensitize` list: one shape for each action.
 *
 * What a rule must mean together with the record schema is checked in `pipeline/spec/`. Must not import any room.
 */
import { z } from "zod";

/** Names a field of a raw record. Any JSON key would do, but these can be written without quoting. */
const NAME = "[A-Za-z_][A-Za-z0-9_-]{0,127}";
/** A top-level field. */
const FIELD = new RegExp(`^${NAME}$`);
/** A field by its path: names with dots between, `[]` for each element of an array; 16 levels at most. */
const PATH = new RegExp(`^${NAME}(?:\\[\\]){0,4}(?:\\.${NAME}(?:\\[\\]){0,4}){0,15}$`);
/** `env:NAME`, as POSIX names environment variables. */
const SECRET = /^env:[A-Za-z_][A-Za-z0-9_]*$/;
/** Written before pseudonyms: nothing that JSON or a Kafka key would have to escape, and no colon, which ends it. */
const KEY_ID = /^[A-Za-z0-9._-]{1,32}$/;

export const field = z.string().regex(FIELD, "a field name (letters, digits, _ and -)");
export const secret = z.string().regex(SECRET, 'a reference "env:NAME" to an environment variable');
export const rulePath = z
  .string()
  .max(1024)
  .regex(PATH, "a field name, or a path such as customer.address.postcode or items[].iban");
const filePath = z.string().min(1).max(1024);
const text = z
  .string()
  .max(1024)
  .regex(/^\P{Cs}*$/u, "well-formed text");
const integer = (minimum: number, maximum: number) => z.int().min(minimum).max(maximum);

/** What free text is searched for without a pattern of the user's; where two find the very same bytes, the first wins. */
export const DETECT_TYPES = [
  "cn-id",
  "de-tax-id",
  "iban",
  "card",
  "ssn",
  "date",
  "ip",
  "mac",
  "url",
  "email",
  "phone",
] as const;
/** A name of a user's pattern: its capitals stand in the text, as those of a type do. */
const DETECTOR_NAME = /^[A-Za-z][A-Za-z0-9_-]{0,31}$/;
/** What can stand in a JSON string as it is. */
const PLAIN_TEXT = /^[^\p{Cc}\p{Cs}"\\]*$/u;

/** Which field or fields a rule is about; exactly one of the two. */
const about = {
  field: rulePath
    .optional()
    .describe(
      "The field that this rule is about: a name, or a path such as customer.address.postcode or items[].iban.",
    ),
  fields: z
    .array(rulePath)
    .min(1)
    .max(256)
    .optional()
    .describe("Several fields with the same rule."),
};

/** Below 2^53 by enough that no sum leaves the integers. */
const WIDEST = 10 ** 15 - 1;
/** So that a range has fewer than 2^48 whole numbers. */
const WIDEST_DOMAIN = 10 ** 14;
const kept = integer(0, 1000);
const key = secret.describe(
  'Where the key is: "env:NAME" of a variable with 32 bytes or more in base64 or hex.',
);
/** How a digest is written. */
const digest = {
  encoding: z
    .enum(["hex", "base64url"])
    .default("hex")
    .describe("Characters of the digest: hexadecimal digits, or base64url without padding."),
  truncateBits: integer(32, 256)
    .multipleOf(8)
    .default(256)
    .describe("Bits of the digest that are left; check says how soon two values then share one."),
};

const day = z.iso.date();
/** Values of a clustered field, where the record schema does not say enough about them. */
const clusterDomain = z.strictObject({
  range: z
    .union([
      z.tuple([integer(-WIDEST_DOMAIN, WIDEST_DOMAIN), integer(-WIDEST_DOMAIN, WIDEST_DOMAIN)]),
      z.tuple([day, day]),
    ])
    .optional()
    .describe("Lowest and highest number, or first and last day; others become dead letters."),
  digits: integer(1, 14).optional().describe("Texts of exactly this many digits, as postcodes."),
  hierarchy: filePath
    .optional()
    .describe("A file with every value and its levels: value; level 1; level 2 (or YAML)."),
});

export const rule = z.discriminatedUnion("action", [
  z.strictObject({ ...about, action: z.literal("keep").describe("Leaves the zone as it is.") }),
  z.strictObject({ ...about, action: z.literal("drop").describe("Never leaves the zone.") }),
  z.strictObject({
    ...about,
    action: z.literal("mask").describe("Hides the characters between the ends, one for one."),
    keepFirst: kept.default(0).describe("Characters kept at the beginning."),
    keepLast: kept.default(0).describe("Characters kept at the end."),
    with: z
      .string()
      .regex(/^[^\p{Cc}\p{Cs}]$/u, "one printable character")
      .default("*")
      .describe("The character that stands for each hidden one."),
  }),
  z.strictObject({
    ...about,
    action: z
      .literal("replace")
      .describe("Every value becomes something else: with, from or format says what."),
    with: text.optional().describe("The constant that every value becomes."),
    from: z
      .union([filePath, z.array(text).min(1).max(65_536)])
      .optional()
      .describe("A list, or a file with one text a line: a keyed hash of the value picks one."),
    format: z
      .literal(true)
      .optional()
      .describe(
        "A text of the same form by keyed hash: letters for letters, digits for digits, the rest as it is.",
      ),
    key: key.optional(),
  }),
  z.strictObject({
    ...about,
    action: z
      .literal("generalize")
      .describe("A wider value: width, bounds, to, prefix or hierarchy says which."),
    width: integer(1, WIDEST).optional().describe("Ranges of whole numbers: 10 gives 30-39."),
    bounds: z
      .array(integer(-WIDEST, WIDEST))
      .min(1)
      .max(256)
      .optional()
      .describe("Where ranges begin, rising: [18, 65] gives <18, 18-64 and 65+."),
    to: z
      .enum(["month", "year", "decade"])
      .optional()
      .describe("What is left of an ISO 8601 date."),
    prefix: integer(1, 1000).optional().describe("Characters that are left at the beginning."),
    hierarchy: filePath
      .optional()
      .describe(
        "A file with a value and its levels on each line: value; level 1; level 2 (or YAML).",
      ),
    level: integer(1, 32).optional().describe("The level of the hierarchy that a value becomes."),
    unknown: z
      .enum(["root", "dead-letter"])
      .optional()
      .describe("What a value that the hierarchy does not have becomes: * or a dead letter."),
  }),
  z.strictObject({
    ...about,
    action: z
      .literal("fpe")
      .describe(
        "FF1 encryption: another text of the same length and alphabet; the key reverses it.",
      ),
    key: secret.describe('Where the key is: "env:NAME" of a variable with exactly 32 bytes.'),
    alphabet: z
      .enum(["digits", "lowercase", "uppercase", "alphanumeric", "uppercase-alphanumeric"])
      .default("digits")
      .describe("Characters of the values; any other makes the record a dead letter."),
    tweak: text
      .optional()
      .describe("Public text that makes it another encryption; else the field's path."),
  }),
  z.strictObject({
    ...about,
    action: z
      .literal("perturb")
      .describe(
        "Bounded noise on a number, by keyed hash of the record's position; no epsilon is claimed for it.",
      ),
    noise: z.enum(["laplace", "gaussian"]).default("laplace").describe("Its distribution."),
    scale: z
      .number()
      .positive()
      .max(1e9)
      .describe("Scale of the Laplace distribution, or standard deviation."),
    within: z.number().positive().max(1e12).describe("No noise is larger; at least the scale."),
    decimals: integer(0, 6).default(0).describe("Decimals of the result."),
    key,
  }),
  z.strictObject({
    ...about,
    action: z
      .literal("pseudonymize")
      .describe("HMAC-SHA-256 under a secret key: the same value gives the same pseudonym."),
    key,
    keyId: z
      .string()
      .regex(KEY_ID, "letters, digits, ., _ and -, 32 at most")
      .optional()
      .describe(
        "Name of the key, written before the pseudonym: k2 gives k2:8f3a...; for rotation.",
      ),
    ...digest,
  }),
  z.strictObject({
    ...about,
    action: z
      .literal("hash")
      .describe("SHA-256 without a key: whoever can guess a value can check the guess."),
    ...digest,
  }),
  z.strictObject({
    ...about,
    action: z
      .literal("cluster")
      .describe("Groups records so that k subjects share what leaves of these fields."),
    k: integer(2, 1000).describe("Distinct subjects in each group, at least."),
    windowRecords: integer(2, 20_000)
      .default(2000)
      .describe("Records of a lane that are grouped together."),
    maxDelayMs: integer(10, 600_000)
      .default(1000)
      .describe("How long a record waits for others, at most."),
    method: z
      .enum(["mondrian", "mdav"])
      .default("mondrian")
      .describe("Halving (Mondrian), or groups of nearest neighbours (MDAV)."),
    acrossWindows: z
      .enum(["nested", "independent"])
      .optional()
      .describe(
        "nested: groups are regions of one fixed tree, so that what several windows say of a person is never narrower than one group; independent: narrower groups, whose ranges may be intersected.",
      ),
    publish: z
      .enum(["range", "mean"])
      .default("range")
      .describe("What leaves: the range of the group, or its mean (independent windows only)."),
    whenTooFew: z
      .enum(["suppress", "generalize"])
      .default("suppress")
      .describe("Records that no group takes: dead letters, or the widest range."),
    suppressUpTo: z
      .number()
      .min(0)
      .max(0.5)
      .default(0)
      .describe(
        "Share of a window that may become dead letters so that other groups are narrower.",
      ),
    sensitive: rulePath
      .optional()
      .describe("A field whose values must differ within each group; it has its own rule."),
    lDiversity: integer(2, 1000).optional().describe("Distinct sensitive values in each group."),
    tCloseness: z
      .number()
      .positive()
      .max(1)
      .optional()
      .describe(
        "Greatest distance of a group's sensitive values from the window's (earth mover's, 0 to 1).",
      ),
    domains: z
      .record(z.string(), clusterDomain)
      .optional()
      .describe("By field: which values there are."),
  }),
  z.strictObject({
    ...about,
    action: z
      .literal("redact")
      .describe("Free text: what looks like one of the types or patterns is taken out of it."),
    detect: z
      .array(z.enum(DETECT_TYPES))
      .max(DETECT_TYPES.length)
      .optional()
      .describe("Types that are looked for; all when left out."),
    patterns: z
      .array(
        z.strictObject({
          name: z
            .string()
            .regex(DETECTOR_NAME, "a name (letters, digits, _ and -; 32 at most)")
            .describe("What {type} stands for where it is found, in capitals."),
          pattern: z
            .string()
            .min(1)
            .max(2000)
            .describe(
              "A regular expression without backreferences, lookaround and lazy quantifiers.",
            ),
          ignoreCase: z.boolean().default(false).describe("Ignores the case of ASCII letters."),
        }),
      )
      .max(16)
      .default([])
      .describe("Patterns of your own, beside the types."),
    with: z
      .string()
      .max(64)
      .regex(PLAIN_TEXT, 'text without ", \\ and control characters')
      .optional()
      .describe('What stands in place of each find: "[{type}]" gives [EMAIL]. The default.'),
    mask: z
      .string()
      .regex(/^[^\p{Cc}\p{Cs}"\\]$/u, 'one printable character, neither " nor \\')
      .optional()
      .describe("In place of with: a character that stands for each one of a find."),
  }),
]);
