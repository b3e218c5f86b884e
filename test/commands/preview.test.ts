/** `preview`: before and after, side by side, through the real stage and its plugin. */
import { spawnSync } from "node:child_process";
import { createHmac } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import { digitRecords } from "../../examples/digits/records.ts";
import { previewWorld, removeWorlds, rowsOf } from "./preview-world.ts";

const KEEP = "  - { fields: [formId, pixels, digit], action: keep }\n";
const NAMES = '  - { field: email, action: pseudonymize, key: "env:PSEUDONYM_KEY" }\n';
const FORM = { formId: "f1", email: "ada@example.org", pixels: [1, 2], digit: 3 };
const TERMINAL = { outputColumns: 100, environment: { NO_COLOR: "1" } };
const VALUES = { showValues: true };

afterAll(removeWorlds);

const digits = previewWorld();
const forms = digitRecords({
  csvGz: readFileSync(join(import.meta.dirname, "../../examples/digits/digits_8x8.csv.gz")),
  seed: 7,
});

describe("on a terminal", () => {
  it("shows what the rules make of the example's forms", async () => {
    const key = Buffer.alloc(32, 9);
    const lines = forms.slice(0, 7).map(({ form }) => form);
    const { code, out, told } = await digits.run(
      digits.input(...lines),
      {},
      {
        ...TERMINAL,
        environment: { NO_COLOR: "1", PSEUDONYM_KEY: key.toString("hex") },
      },
    );
    expect({ code, told }).toEqual({ code: 0, told: [] });
    const [first] = lines;
    const rows = rowsOf(out);
    // Five records, as nobody asked for more, each with a heading and nine fields or eight.
    expect(out.match(/^record \d+ passes with the key form-00000\d$/gm)).toHaveLength(5);
    expect(out).toMatch(/\n5 records: 5 pass, none refused$/);
    expect(rows[0]).toEqual(["field", "before", "after", "rule"]);
    const of = (field: string) => rows.find(([name]) => name === field);
    expect(of("name")?.[1]).toBe(JSON.stringify(first?.name));
    expect(of("name")?.[2]).toMatch(/^"\p{Lu}\*+"$/u);
    expect(of("name")?.[3]).toBe("mask but first 1");
    const digest = createHmac("sha256", key)
      .update(first?.email ?? "")
      .digest("hex");
    expect(of("email")?.[2]).toMatch(/^"[0-9a-f]{20,}…$/);
    expect(digest).toContain(of("email")?.[2]?.slice(1, -1));
    expect(of("note")?.[2]).toBe('"(removed)"');
    expect(of("pixels")?.[1]).toMatch(/^\[0, .*…$/);
    for (const line of out.split("\n")) expect(line.length).toBeLessThanOrEqual(100);
  });

  it("uses keys of its own where there are none, and says so", async () => {
    const input = digits.input(FORM);
    const [one, two] = [
      await digits.run(input, {}, TERMINAL),
      await digits.run(input, {}, TERMINAL),
    ];
    expect(one.told).toEqual([expect.stringMatching(/^PSEUDONYM_KEY is not set: .*random keys/)]);
    expect(one.out).not.toBe(two.out);
    const short = { environment: { PSEUDONYM_KEY: "abcd" }, outputColumns: 80 };
    await expect(digits.run(input, {}, short)).rejects.toMatchObject({ code: "key-invalid" });
  });

  it("has colours, unless NO_COLOR or TERM says otherwise", async () => {
    const input = digits.input({ formId: "f", digit: 1 });
    const run = async (environment: Record<string, string>) =>
      (await digits.run(input, {}, { outputColumns: 80, environment })).out;
    const coloured = await run({});
    expect(coloured).toContain("\u001b[33m");
    expect(stripVTControlCharacters(coloured)).toBe(await run({ NO_COLOR: "1" }));
    expect(await run({ TERM: "dumb" })).not.toContain("\u001b");
    expect((await digits.run(input, VALUES)).out).not.toContain("\u001b");
  });

  it("keeps characters of two columns in line", async () => {
    const input = digits.input({ formId: "f", name: "山田太郎🙂é", note: "手書き".repeat(40) });
    const { out } = await digits.run(input, {}, TERMINAL);
    const columns = (line: string) =>
      [...line].reduce((sum, one) => sum + (/[\u3000-\u9fff\u{1f642}]/u.test(one) ? 2 : 1), 0);
    const bars = out
      .split("\n")
      .filter((line) => line.includes(" │ "))
      .map((line) => [...line.matchAll(/│/g)].map(({ index }) => columns(line.slice(0, index))));
    expect(bars.length).toBe(4);
    expect(new Set(bars.map(String)).size).toBe(1);
  });
});

describe("nested records", () => {
  const world = previewWorld(
    `${KEEP}${NAMES}  - { field: 'items[].iban', action: mask, keepLast: 2 }\n  - { field: 'items[].tags[]', action: hash }\n  - { field: customer.address.city, action: keep }\n  - { field: customer.age, action: perturb, scale: 2, within: 9, key: "env:K" }`,
    {
      items: {
        type: "array",
        items: {
          type: "object",
          properties: {
            iban: { type: "string" },
            price: { type: "number" },
            tags: { type: "array", items: { type: "string" } },
          },
        },
      },
      customer: {
        type: "object",
        properties: { age: { type: "integer" }, address: { type: "object" } },
      },
    },
  );
  const record = {
    ...FORM,
    items: [
      { iban: "DE02120300000000202051", price: 1, tags: ["a", "b"] },
      { iban: "AT1", own: { deep: true } },
    ],
    customer: { address: { city: "Ulm", zip: "89073" }, age: 41 },
  };

  it("are flattened, with what is dropped", async () => {
    const { out, told, code } = await world.run(
      world.input(record),
      {},
      { ...TERMINAL, outputColumns: 160 },
    );
    expect(code).toBe(0);
    const rows = rowsOf(out);
    expect(rows).toContainEqual([
      "items[0].iban",
      '"DE02120300000000202051"',
      '"********************51"',
      "mask but last 2",
    ]);
    expect(rows).toContainEqual(["items[0].price", "1", "(dropped)", "no rule"]);
    expect(rows).toContainEqual([
      "items[0].tags[1]",
      '"b"',
      expect.stringMatching(/^"3e23e816/),
      "hash",
    ]);
    expect(rows).toContainEqual(["items[1].iban", '"AT1"', '"*T1"', "mask but last 2"]);
    expect(rows).toContainEqual(["items[1].own", '{"deep": true}', "(dropped)", "no rule"]);
    expect(rows).toContainEqual(["customer.address.city", '"Ulm"', '"Ulm"', "keep"]);
    expect(rows).toContainEqual(["customer.address.zip", '"89073"', "(dropped)", "no rule"]);
    expect(told).toContainEqual(
      expect.stringMatching(/^the noise on customer.age depends on a record's place/),
    );
  });

  it("do not lend their own names to --json", async () => {
    const { out } = await world.run(world.input(record), { json: true });
    expect(out).toContain('"items[1].*"');
    expect(out).toContain('"customer.address.*"');
    expect(out).not.toMatch(/own|zip|Ulm|DE02/);
  });

  it("show numbers as they are written", async () => {
    const precise = '{"formId":"f","digit":1e0,"pixels":[12345678901234567890,0.10]}';
    const { out } = await world.run(world.input(precise), VALUES);
    expect(rowsOf(out)).toContainEqual(["digit", "1e0", "1e0", "keep"]);
    expect(rowsOf(out)).toContainEqual(expect.arrayContaining(["[12345678901234567890, 0.10]"]));
  });
});

describe("a record that would drive the terminal", () => {
  it("is shown with its commands spelled out", async () => {
    const evil = "\u001b]0;owned\u0007\u001b[2J\u009b31m\u202eabc\u2066\u200b\r\n\u2028x";
    const world = previewWorld(`${KEEP}${NAMES}  - { field: note, action: keep }`);
    const broken = `{"formId":"${evil}`.replaceAll(/[\r\n]/g, "");
    const input = world.input({ ...FORM, formId: `${evil}id`, note: evil }, broken, {
      formId: "f",
      [evil]: 1,
    });
    const { out, code } = await world.run(input, {}, { ...TERMINAL, outputColumns: 400 });
    expect(code).toBe(1);
    expect(out).toContain(
      "\\u001b]0;owned\\u0007\\u001b[2J\\u009b31m\\u202eabc\\u2066\\u200b\\r\\n\\u2028x",
    );
    expect(out).toContain("refused (not-json)");
    expect(out).toContain("refused (unknown-field)");
    expect(out.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
    // The commands of the record are not lines of the table either.
    expect(out.split("\n").filter((line) => /^\s*x"?/.test(line))).toEqual([]);
  });

  it("or pile marks on one character, is not shown with them", async () => {
    const world = previewWorld(`${KEEP}${NAMES}  - { field: note, action: keep }`);
    const input = world.input({ ...FORM, note: `e${"\u0301".repeat(5000)}` });
    const { out } = await world.run(input, VALUES);
    expect(out.match(/\u0301/g)).toBeNull();
    expect(out).toContain("\ufffd");
  });
});

describe("what leaves the terminal", () => {
  const marker = "k7Qx2mZp";
  const lines = [
    { ...FORM, name: marker, email: marker, formId: `${marker}1` },
    { ...FORM, [marker]: 1 },
    `{"formId": "${marker}`,
    { ...FORM, digit: marker },
  ];

  it("is nothing, unless it was asked for", async () => {
    const input = digits.input(...lines);
    await expect(digits.run(input)).rejects.toMatchObject({
      code: "usage",
      message: expect.stringContaining("--show-values"),
    });
    const both = digits.run(input, { json: true, showValues: true });
    await expect(both).rejects.toMatchObject({ code: "usage" });
    expect((await digits.run(input, VALUES)).out).toContain(marker);
  });

  it("has states, rules and lengths under --json, and no value", async () => {
    const { out, code, told } = await digits.run(digits.input(...lines), { json: true });
    expect(code).toBe(1);
    expect(out + told.join()).not.toContain(marker);
    const [first, second, third, fourth, summary] = out.split("\n").map((line) => JSON.parse(line));
    expect(first).toMatchObject({ record: 1, status: "passes" });
    expect(first.fields).toContainEqual({
      field: "name",
      rule: "mask but first 1",
      before: { type: "string", length: 8 },
      after: { type: "string", length: 8 },
    });
    expect(second).toEqual({
      record: 2,
      status: "refused",
      bytes: expect.any(Number),
      reason: "unknown-field",
    });
    expect(third).toMatchObject({ reason: "not-json" });
    expect(fourth).toMatchObject({ reason: "wrong-type" });
    expect(summary).toEqual({
      records: 4,
      passes: 1,
      refused: 3,
      dropped: 0,
      waiting: 0,
      printed: 4,
      reasons: { "unknown-field": 1, "not-json": 1, "wrong-type": 1 },
      randomKeys: ["PSEUDONYM_KEY"],
    });
  });
});

describe("input that is not as it should be", () => {
  it("a missing file, a folder, a count that is none", async () => {
    const usage = { code: "usage" };
    await expect(digits.run("/nowhere/x.ndjson", VALUES)).rejects.toMatchObject(usage);
    await expect(digits.run(digits.folder, VALUES)).rejects.toMatchObject(usage);
    for (const records of ["0", "x", "1001"]) {
      const run = digits.run(digits.input(FORM), { ...VALUES, records });
      await expect(run).rejects.toMatchObject(usage);
    }
  });

  it("nothing, and lines without anything", async () => {
    const { code, out, told } = await digits.run(digits.input("", ""), VALUES);
    expect({ code, out, told }).toEqual({ code: 1, out: "", told: ["The input has no records."] });
  });

  it("a line that no Kafka record may hold, and one that the pipeline refuses", async () => {
    const huge = digits.input({ ...FORM, note: "x".repeat(2_000_000) });
    await expect(digits.run(huge, VALUES)).rejects.toMatchObject({ code: "limit-exceeded" });
    const { out, code } = await digits.run(
      digits.input({ ...FORM, note: "x".repeat(70_000) }, FORM),
      VALUES,
    );
    expect(code).toBe(1);
    expect(out).toContain("record 1 refused (too-large)");
    expect(out).toMatch(/2 records: 1 pass, 1 refused \(too-large 1\)$/);
    expect(out.length).toBeLessThan(5000);
  });

  it("more bytes than a lane holds at once", async () => {
    const note = "x".repeat(60_000);
    const lines = Array.from({ length: 100 }, (_, i) => ({ ...FORM, formId: `f${i}`, note }));
    const { out, code } = await digits.run(digits.input(...lines), { ...VALUES, records: "100" });
    expect(code).toBe(0);
    expect(out).toMatch(/100 records: 100 pass/);
    expect(out).toContain("record 100 passes with the key f99");
  });

  it("ends with what came when the process is asked to end", async () => {
    const aborted = { ...TERMINAL, signal: AbortSignal.abort() };
    const { code, told } = await digits.run(digits.input(FORM), {}, aborted);
    expect({ code, told }).toEqual({ code: 1, told: ["The input has no records."] });
  });
});

describe("the command line", () => {
  const sealstream = (args: readonly string[], input = "") =>
    spawnSync(process.execPath, ["bin/sealstream.js", "preview", digits.file, ...args], {
      input,
      encoding: "utf8",
      cwd: join(import.meta.dirname, "../.."),
    });

  it("knows the command, its options and standard input", () => {
    const line = `${JSON.stringify(FORM)}\n`;
    const shown = sealstream(["-", "--show-values", "--records", "2"], line.repeat(3));
    expect(shown).toMatchObject({ status: 0, stdout: expect.stringMatching(/2 records: 2 pass/) });
    const refused = sealstream(["-"], line);
    expect(refused).toMatchObject({ status: 2, stdout: "" });
    expect(refused.stderr).toContain("--show-values");
    const missing = sealstream(["nothing.ndjson", "--json"]);
    expect(missing).toMatchObject({ status: 2, stderr: "There is no file nothing.ndjson.\n" });
    writeFileSync(join(digits.folder, "empty"), "");
    expect(sealstream([join(digits.folder, "empty"), "--json"])).toMatchObject({ status: 1 });
  });
});
