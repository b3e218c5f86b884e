/**
 * The parameters of the actions in the plugin's configuration, to the byte, after the grammar of its README.
 */
import { expect, test } from "vitest";
import type { DesensitizeRule, PipelineSpec } from "../../../pipeline/spec/pipeline-spec.ts";
import { encodePluginConfig } from "../../../pipeline/stages/desensitize/plugin-config.ts";
import { readRecordSchema } from "../../../pipeline/stages/desensitize/record-schema.ts";
import type { Action } from "../../plugins/desensitize/one-rule.ts";
import { KEY, secrets, specWith } from "./fixtures.ts";

const key = { env: "PSEUDONYM_KEY" };

/** The words after the header and its keys: those of the field `id`, then those of the fields `v` and `w`. */
function fieldBytes(actions: readonly Action[]): { keys: string; fields: string } {
  const schema = { type: "object", properties: { id: {}, v: {}, w: {} } };
  const rules: PipelineSpec["desensitize"] = [
    { field: "id", action: "keep" },
    // Because a field and an action make a rule.
    ...actions.map((action, i) => ({ field: "vw"[i], ...action }) as DesensitizeRule),
  ];
  const spec = specWith({ schema, rules, id: "id" });
  const bytes = Buffer.from(encodePluginConfig(spec, readRecordSchema(schema), secrets));
  const hex = bytes.toString("hex");
  const id = "010000007f00000000000000ffffffff020000000000000069640000";
  const at = hex.indexOf(id);
  expect(at).toBeGreaterThanOrEqual(64);
  return { keys: hex.slice(64, at), fields: hex.slice(at + id.length) };
}

/** A field with a name of one letter: action, any type, optional, of the record, 1 byte, bytes of parameters. */
function field(action: string, bytes: string, name: string, ...parameters: string[]): string {
  const text = `${action} 7f000000 00000000 ffffffff 01000000 ${bytes} ${name}000000 ${parameters.join("")}`;
  return text.replaceAll(" ", "");
}
const W_DROPPED = field("00000000", "00000000", "77");

test.each<[string, Action, string, string[]]>([
  ["width", { action: "generalize", to: { width: 10 } }, "06", ["08", "0a000000 00000000"]],
  [
    "bounds: -1 and 2^33; <-1, -1 to 8589934591, 8589934592+",
    { action: "generalize", to: { bounds: [-1, 2 ** 33] } },
    "07",
    [
      "4e",
      "02000000 00000000 ffffffffffffffff 0000000002000000",
      // places: 48 bytes of words before the first text
      "30000000 03000000 33000000 10000000 43000000 0b000000",
      "3c2d31 2d3120746f2038353839393334353931 383538393933343539322b 0000",
    ],
  ],
  ["month", { action: "generalize", to: { date: "month" } }, "08", ["04", "00000000"]],
  ["year", { action: "generalize", to: { date: "year" } }, "08", ["04", "01000000"]],
  ["decade", { action: "generalize", to: { date: "decade" } }, "08", ["04", "02000000"]],
  ["prefix", { action: "generalize", to: { prefix: 3 } }, "09", ["04", "03000000"]],
  [
    "table with a root; values rise, a text stands there once",
    {
      action: "generalize",
      to: {
        table: [
          ["b", "x"],
          ["a", "x"],
        ],
        unknown: "*",
      },
    },
    "0a",
    [
      "34",
      "01000000 02000000",
      // a at 48, x at 49, b at 50, * at 51
      "30000000 01000000 31000000 01000000 32000000 01000000 31000000 01000000 33000000 01000000",
      "6178622a",
    ],
  ],
  [
    "table without a root",
    { action: "generalize", to: { table: [["a", "b"]], unknown: null } },
    "0a",
    ["22", "00000000 01000000 20000000 01000000 21000000 01000000 22000000 00000000", "6162 0000"],
  ],
])("%s", (_, action, code, [bytes, ...block]) => {
  const { keys, fields } = fieldBytes([action]);
  expect(keys).toBe("");
  expect(fields).toBe(field(`${code}000000`, `${bytes}000000`, "76", ...block) + W_DROPPED);
});

const HMAC_KEY = /^0100000020000000[0-9a-f]{64}$/;
const AES_KEY = new RegExp(`^0200000020000000${KEY.toString("hex")}$`);

test.each<[string, Action, [code: string, key: RegExp], string[]]>([
  [
    "pick: key 0, 2 texts, at 20 and 23 from their number",
    { action: "pick", from: ["Ada", "Bo"], key },
    ["0b", HMAC_KEY],
    ["1d", "00000000", "02000000 14000000 03000000 17000000 02000000", "41646142 6f000000"],
  ],
  ["fake", { action: "fake", key }, ["0c", HMAC_KEY], ["04", "00000000"]],
  [
    "fpe: key 0, radix 2, alphabet and tweak",
    { action: "fpe", key, alphabet: "01", tweak: "é" },
    ["0d", AES_KEY],
    ["0c", "00000000 02000000 3031 c3a9"],
  ],
  [
    "perturb: key 0, Gaussian, 3 decimals, 1.5 within 4",
    { action: "perturb", key, noise: "gaussian", scale: 1.5, within: 4, decimals: 3 },
    ["0e", HMAC_KEY],
    ["1c", "00000000 01000000 03000000 000000000000f83f 0000000000001040"],
  ],
])("%s", (_, action, [code, expectedKey], [bytes, ...block]) => {
  const { keys, fields } = fieldBytes([action]);
  expect(keys).toMatch(expectedKey);
  if (expectedKey === HMAC_KEY) expect(keys).not.toContain(KEY.toString("hex"));
  expect(fields).toBe(field(`${code}000000`, `${bytes}000000`, "76", ...block) + W_DROPPED);
});

test("noise asks for positions in the flags", () => {
  const action: Action = {
    action: "perturb",
    key,
    noise: "laplace",
    scale: 1,
    within: 1,
    decimals: 0,
  };
  const spec = specWith({
    schema: { type: "object", properties: { id: {}, v: {} } },
    // Because a field and an action make a rule.
    rules: [{ field: "id", action: "keep" }, { field: "v", ...action } as DesensitizeRule],
    id: "id",
  });
  const bytes = encodePluginConfig(spec, readRecordSchema(spec.record.schema), secrets);
  expect(Buffer.from(bytes).readUInt32LE(16)).toBe(2);
});

test("redact: a set of detectors stands there once, and its number in each field that has it", () => {
  const redact: Action = {
    action: "redact",
    detectors: [{ name: "k", pattern: "ab" }],
    replacement: { kind: "token", with: "<{type}>" },
  };
  // Classes: everything else, a, b. States: dead, start, after a, after ab.
  const classOf = Buffer.alloc(256);
  classOf[0x61] = 1;
  classOf[0x62] = 2;
  const BACK_CLASS_OF = Buffer.alloc(256);
  BACK_CLASS_OF[0x61] = 1;
  const set = (byte: number) => {
    const bits = Buffer.alloc(32);
    bits[byte >> 3] = 1 << (byte & 7);
    return bits.toString("hex");
  };
  const block = [
    "00000000",
    "53444432 01000000 01000000 00000000",
    // a type: shortest match 2, no mask, 3 bytes
    "02000000 00000000 03000000 3c4b3e00",
    // a group: 1 pattern; 4 states, 3 classes, first accepting 3; 3 states, 2 classes, first accepting 2
    "01000000 04000000 03000000 03000000 03000000 02000000 02000000",
    // anchors
    set(0x61),
    // the pattern: type 0, no check, no joiners
    "00000000 00000000 00000000",
    classOf.toString("hex"),
    // state 3 accepts pattern 0
    "01000000",
    "000000000000 000002000000 000000000300 000000000000",
    // the way back: from an a, nothing before it
    BACK_CLASS_OF.toString("hex"),
    "00000000 00000200 00000000",
  ];
  const { fields } = fieldBytes([redact, redact]);
  const size = block.join("").replaceAll(" ", "").length / 2;
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(size);
  expect(fields).toBe(
    field("0f000000", bytes.toString("hex"), "76", ...block) +
      field("0f000000", "04000000", "77", "00000000"),
  );
});
