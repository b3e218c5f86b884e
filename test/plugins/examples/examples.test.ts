/**
 * The examples in three languages: each is made by `plugin new`, builds as its README says, passes the conformance suite,
 * does what the table of its README says, and does its job before the rules of a pipeline file.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { plugin } from "../../../pipeline/commands/plugin.ts";
import { desensitizeOptions } from "../../../pipeline/commands/stages/desensitize.ts";
import { formatComplaint } from "../../../pipeline/spec/complaint.ts";
import { loadPipelineSpec } from "../../../pipeline/spec/load.ts";
import { createDesensitizeStage } from "../../../pipeline/stages/desensitize/stage.ts";
import { packBatch, valueAt } from "../../../pipeline/wasm/columns.ts";
import { createInstance } from "../../../pipeline/wasm/instance.ts";
import { compilePlugin } from "../../../pipeline/wasm/module-check.ts";
import { recordingContext } from "../../commands/recording-context.ts";
import { recordsOf } from "../../stages/desensitize/fixtures.ts";
import { createRandom } from "../desensitize/random.ts";
import { toolchains } from "./build.ts";
import { endOf, randomRows, reference } from "./reference.ts";

const KEY = "5a".repeat(32);
const DIGITS = join(import.meta.dirname, "..", "..", "fixtures", "digits");

const folder = mkdtempSync(join(tmpdir(), "sealstream-examples-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const listen = () => recordingContext({ environment: { PSEUDONYM_KEY: KEY } });

/** `plugin ...`: its exit code and what it printed. */
async function command(action: string, target: string, options: Record<string, unknown> = {}) {
  const { context, printed } = listen();
  const code = await plugin(context, action, target, options);
  return { code, printed };
}

for (const { language, example, missing, build } of toolchains()) {
  if (missing !== null)
    console.warn(`SKIPPED: the plugin example in ${language} (there is no ${missing} here)`);

  describe.skipIf(missing !== null)(`a new plugin in ${language}`, () => {
    const home = join(folder, `mine-${language}`);
    const path = join(home, "plugin.wasm");
    let module: Uint8Array;

    beforeAll(async () => {
      expect((await command("new", home, { language })).code).toBe(0);
      module = build(home);
      writeFileSync(path, module);
    }, 300_000);

    test("has its own name, the ABI and no trace of the example", () => {
      for (const name of ["README.md", "ABI.md", "samples.txt", "config.txt", ".gitignore"]) {
        expect(existsSync(join(home, name)), name).toBe(true);
      }
      const readme = readFileSync(join(home, "README.md"), "utf8");
      expect(readme).toContain(`# mine-${language}`);
      expect(readme).not.toContain(example);
    });

    test("passes plugin test, which prints what to paste", async () => {
      const [config, input] = ["config.txt", "samples.txt"].map((name) => join(home, name));
      const { code, printed } = await command("test", path, { config, input });
      expect(printed.filter((line) => !line.startsWith("pass"))).toEqual([
        "fails none of 27 checks",
        `sha256 ${createHash("sha256").update(module).digest("hex")}`,
        expect.any(String),
        "plugins:",
        expect.stringContaining(`sha256: "${createHash("sha256").update(module).digest("hex")}"`),
      ]);
      expect(code).toBe(0);
    });

    test("makes of every row what the table says", () => {
      const limits = { maxOutputBytes: 2 ** 26 };
      const compiled = compilePlugin(module, 2 ** 26);
      const lowered = ["email", "f1"];
      const instance = createInstance({
        module: compiled,
        config: Buffer.from(" email,f1 "),
        limits,
      });
      for (let seed = 1; seed <= 20; seed++) {
        const random = createRandom(seed);
        const rows = randomRows(500, () => random.int(2 ** 30) / 2 ** 30);
        const { status, rowIndex, columns } = instance.transform(packBatch([rows], 0, rows.length));
        const values = new Map([...rowIndex].map((row, i) => [row, valueAt(columns[0]!, i)]));
        const ends = [...status].map((code, row) => endOf(code, values.get(row) ?? null));
        const expected = rows.map((row) => {
          const end = reference(row, lowered);
          return "value" in end ? end.value : end.status;
        });
        expect(ends, `seed ${seed}`).toEqual(expected);
      }
    });

    test("refuses a configuration that it cannot read", () => {
      const options = { module: compilePlugin(module, 2 ** 24), limits: { maxOutputBytes: 1 } };
      expect(() => createInstance({ ...options, config: Buffer.from([0xff]) })).toThrow(/code 1/);
      expect(() => createInstance({ ...options, config: Buffer.alloc(5000, "a") })).toThrow(
        /code 2/,
      );
    });

    test("does its job before the rules: lines leave as desensitized records", async () => {
      const config = join(home, "config.txt");
      const { printed } = await command("test", path, { config });
      const file = join(home, "pipeline.yaml");
      const schema = JSON.parse(readFileSync(join(DIGITS, "form.schema.json"), "utf8"));
      // Lines cannot say arrays: these forms are without the picture.
      const required = ["formId", "email"];
      writeFileSync(join(home, "form.schema.json"), JSON.stringify({ ...schema, required }));
      const text = readFileSync(join(DIGITS, "pipeline.yaml"), "utf8");
      // What the command printed is what a user pastes.
      writeFileSync(file, `${text}\nplugins:\n${printed.at(-1)}\n`);
      const loaded = loadPipelineSpec({ path: file, readFile: readFileSync, env: {} });
      if (loaded.status === "invalid")
        throw new Error(loaded.complaints.map(formatComplaint).join());
      const stage = createDesensitizeStage(await desensitizeOptions(listen().context, loaded.spec));
      try {
        const lane = await stage.openLane(0);
        const { outputs, outcomes, consumedTo } = await lane.process(
          recordsOf(
            "formId=f1; name=Ada Lovelace; email=ADA@Example.org; note=call",
            '{"formId":"f2","email":"ada@example.org"}',
            "# exported by the old system",
            "formId=f3; email=x@example.org; ssn=078-05-1120",
            "formId f4",
            "formId=f5; name=x; name=y",
          ),
          await lane.restore(null, 100),
          0,
        );
        const records = outputs.map(({ value }) => JSON.parse(Buffer.from(value!).toString()));
        expect(records).toMatchObject([
          { formId: "f1", name: "A***********", note: "(removed)" },
          { formId: "f2" },
        ]);
        // Lower-cased before it is pseudonymized: one person, however the address is written.
        expect(records[0].email).toBe(records[1].email);
        expect(outcomes).toEqual([
          { offset: 102, kind: "drop", reason: "dropped" },
          { offset: 103, kind: "dead-letter", reason: "unknown-field" },
          { offset: 104, kind: "dead-letter", reason: "not-json" },
          { offset: 105, kind: "dead-letter", reason: "duplicate-field" },
        ]);
        expect(consumedTo).toBe(106);
      } finally {
        await stage.close?.();
      }
    });
  });
}
