/** Where raw is partitioned by the subject, a record leaves from its subject's lane alone, and says how it is named. */
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import type { DesensitizeRule } from "../../../pipeline/spec/pipeline-spec.ts";
import {
  createDesensitizeStage,
  createRuleJudge,
  type DesensitizeOptions,
} from "../../../pipeline/stages/desensitize/stage.ts";
import { partitionOf } from "../../../pipeline/stream/subject-partition.ts";
import { wasmPath } from "../../../pipeline/wasm/locate.ts";
import {
  KEY,
  processAll,
  RULES,
  recordsOf,
  type SpecParts,
  secrets,
  specWith,
} from "./fixtures.ts";

const wasm = readFileSync(wasmPath("desensitize"));
const PARTITIONS = 3;
const SUBJECT = { subject: "email", partitions: PARTITIONS } as const;
const closes: (() => Promise<void> | undefined)[] = [];
afterAll(async () => void (await Promise.all(closes.map((close) => close()))));

async function run(
  records: ReturnType<typeof recordsOf>,
  { lane = 0, parts = SUBJECT as SpecParts, options = {} as Partial<DesensitizeOptions> } = {},
) {
  const stage = createDesensitizeStage({ spec: specWith(parts), secrets, wasm, ...options });
  closes.push(() => stage.close?.());
  return processAll(await stage.openLane(lane), records);
}

const form = (email: unknown, at = 0) => ({ formId: `f${at}`, age: 1, email });
const lane = (email: string): number => partitionOf(Buffer.from(email), PARTITIONS);
const reasons = (result: Awaited<ReturnType<typeof run>>) =>
  result.outcomes.map(({ offset, kind, reason }) => `${offset} ${kind} ${reason}`);

describe("raw partitioned by the subject", () => {
  const people = ["a@b.c", "jürgen@b.c", "手@b.c", 'quote"d', "back\\slash", "tab\t", "x"];

  it("lets each person through in one lane, by the decoded text of the field", async () => {
    for (let at = 0; at < PARTITIONS; at += 1) {
      const result = await run(recordsOf(...people.map((name, i) => form(name, i))), { lane: at });
      expect(result.outputs.map(({ key }) => Buffer.from(key!).toString())).toEqual(
        people.flatMap((name, i) => (lane(name) === at ? [`f${i}`] : [])),
      );
      expect(reasons(result)).toEqual(
        people.flatMap((name, i) =>
          lane(name) === at ? [] : [`${100 + i} dead-letter wrong-partition`],
        ),
      );
    }
  });

  it("spells no difference: escapes of the same text are the same person", async () => {
    const plain = '{"formId":"f","age":1,"email":"a@b.c"}';
    const escaped = '{"formId":"f","age":1,"email":"\\u0061\\u0040b.c"}';
    const result = await run(recordsOf(plain, escaped), { lane: lane("a@b.c") });
    expect(result.outputs).toHaveLength(2);
    expect(Buffer.from(result.outputs[0]!.value!)).toEqual(Buffer.from(result.outputs[1]!.value!));
  });

  it("refuses a record without a person, and one whose person is no text", async () => {
    const schema = {
      type: "object",
      properties: { formId: { type: "string" }, email: {} },
      additionalProperties: true,
    } as const;
    const rules: DesensitizeRule[] = [
      { field: "formId", action: "keep" },
      { field: "email", action: "keep" },
    ];
    const records = recordsOf(
      { formId: "f" },
      ...[null, "", 7, true, ["a"], {}].map((v) => form(v)),
    );
    const result = await run(records, { parts: { ...SUBJECT, schema, rules } });
    expect(result.outputs).toEqual([]);
    expect(reasons(result).map((text) => text.split(" ")[2])).toEqual([
      ...["missing-field", "missing-field", "missing-field"],
      ...["wrong-type", "wrong-type", "wrong-type", "wrong-type"],
    ]);
  });

  it("is asked of no record elsewhere", async () => {
    const result = await run(recordsOf(form("a@b.c"), form(null)), {
      parts: { subject: "email" },
      lane: lane("a@b.c") + 1,
    });
    expect(result.outputs).toHaveLength(2);
    expect(result.outputs.map(({ headers }) => headers)).toEqual([{}, {}]);
  });

  it("holds for grouped records too", async () => {
    const rules: DesensitizeRule[] = [
      ...RULES.filter(({ field }) => field !== "age"),
      {
        ...{ field: "age", action: "cluster", domain: { kind: "number", range: [0, 99] } },
        cluster: {
          ...{ k: 2, windowRecords: people.length, maxDelayMs: 10, method: "mondrian" },
          ...{ acrossWindows: "independent", publish: "range", whenTooFew: "generalize" },
          ...{ suppressUpTo: 0, sensitive: null },
        },
      } as const,
    ];
    const here = people.filter((name) => lane(name) === lane("a@b.c"));
    const result = await run(recordsOf(...people.map((name, i) => form(name, i))), {
      ...{ lane: lane("a@b.c"), parts: { ...SUBJECT, rules } },
    });
    expect(result.outputs).toHaveLength(here.length);
    expect(Object.keys(result.outputs[0]?.headers ?? {})).toEqual(["sealstream-subject"]);
    expect(result.outcomes.filter(({ reason }) => reason === "wrong-partition")).toHaveLength(
      people.length - here.length,
    );
  });

  it("is nobody's business in a preview, which has no partition", async () => {
    const records = recordsOf(...people.map((name, i) => form(name, i)));
    const { outputs } = await run(records, { options: { anyLane: true } });
    expect(outputs).toHaveLength(people.length);
  });
});

describe("how subjects are named", () => {
  const naming = async (rule: DesensitizeRule, key = KEY) => {
    const rules = [...RULES.filter(({ field }) => field !== "email"), rule];
    const { outputs } = await run(recordsOf(form("a@b.c")), {
      ...{ lane: lane("a@b.c"), parts: { ...SUBJECT, rules } },
      options: { secrets: () => key },
    });
    return Buffer.from(outputs[0]!.headers!["sealstream-subject"]!).toString("hex");
  };
  const pseudonymize = {
    field: "email",
    action: "pseudonymize",
    key: { env: "PSEUDONYM_KEY" },
  } as const;

  it("stands in a header of 16 bytes that raw records cannot bring along", async () => {
    const text = 'sealstream/subject-naming/v1|["email","pseudonymize",null,"hex",256]';
    const expected = createHmac("sha256", KEY).update(text).digest().subarray(0, 16);
    expect(await naming(pseudonymize)).toBe(expected.toString("hex"));
    const [record] = recordsOf(form("a@b.c"));
    const forged = { ...record!, headers: { "sealstream-subject": Buffer.alloc(16) } };
    const { outputs } = await run([forged], { lane: lane("a@b.c") });
    expect(Buffer.from(outputs[0]!.headers!["sealstream-subject"]!)).toEqual(expected);
  });

  it("changes with the key, its id, the form and the rule", async () => {
    const found = await Promise.all([
      naming(pseudonymize),
      naming(pseudonymize, Buffer.alloc(32, 1)),
      naming({ ...pseudonymize, keyId: "2" }),
      naming({ ...pseudonymize, form: { encoding: "hex", bits: 128 } }),
      naming({ ...pseudonymize, form: { encoding: "base64url", bits: 256 } }),
      naming({ field: "email", action: "keep" }),
    ]);
    expect(new Set(found).size).toBe(found.length);
    expect(await naming({ ...pseudonymize, key: { env: "OTHER_NAME" } })).toBe(found[0]);
  });
});

it("tells a replay which partition a record belongs to, whatever partition it came from", async () => {
  const judge = createRuleJudge({ spec: specWith(SUBJECT), secrets, wasm });
  closes.push(judge.close);
  const people = ["a@b.c", "b@b.c", "c@b.c", "d@b.c"];
  const judged = await judge.judge(recordsOf(...people.map((name) => form(name)), form(null)));
  expect(judged).toEqual([
    ...people.map((name) => expect.objectContaining({ partition: lane(name) })),
    "missing-field",
  ]);
  const plain = createRuleJudge({ spec: specWith(), secrets, wasm });
  closes.push(plain.close);
  expect(await plain.judge(recordsOf(form("a@b.c")))).toMatchObject([{ partition: null }]);
});
