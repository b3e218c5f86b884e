/**
 * The conformance suite: what is good passes whole, and each bad guest fails by the check that is about its fault.
 */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { valueAt } from "../../../pipeline/wasm/columns.ts";
import { CHECKS } from "../../../pipeline/wasm/conformance/checks.ts";
import { type ConformanceReport, testPlugin } from "../../../pipeline/wasm/conformance/suite.ts";
import { createPluginHost, type PluginHost } from "../../../pipeline/wasm/host.ts";
import { wasmPath } from "../../../pipeline/wasm/locate.ts";
import { hostileGuest, modeConfig } from "../hostile-guest.ts";
import { createRawConfig } from "../raw-config.ts";
import { type BadGuest, OTHERS, TEN } from "./bad-guests.ts";

const MEMORY = 64 * 2 ** 20;

const failedIn = (report: ConformanceReport): string[] =>
  report.checks.flatMap(({ name, outcome }) => (outcome === "fail" ? [name] : []));

function run(
  module: Uint8Array,
  config: Uint8Array,
  rows: readonly Uint8Array[] = [],
  deadlineMs = 2000,
) {
  return testPlugin({ module, config, rows, memoryMaxBytes: MEMORY, deadlineMs });
}

/** A plugin of another user on the same machine, while bad guests are tried. */
let neighbour: PluginHost;
beforeAll(async () => {
  neighbour = await createPluginHost({
    module: await hostileGuest(),
    config: modeConfig("honest"),
    limits: { memoryMaxBytes: MEMORY, deadlineMs: 10_000, maxOutputBytes: 2 ** 20 },
  });
}, 60_000);
afterAll(() => neighbour.close());

describe("passes", () => {
  test("the desensitize plugin, release and debug, and says that a pipeline file does not list it", async () => {
    const rows = ['{"id":"r1","note":"private"}', '{"id":"r2"}'].map((text) => Buffer.from(text));
    for (const name of ["desensitize", "desensitize.debug"]) {
      const report = await run(readFileSync(wasmPath(name)), createRawConfig(), rows, 10_000);
      expect(failedIn(report)).toEqual([]);
      expect(report).toMatchObject({ passed: true, fitsPipeline: false });
      expect(report.checks.filter(({ outcome }) => outcome !== "pass")).toMatchObject([
        { name: "one-row-each", outcome: "note" },
      ]);
    }
  });

  test("an honest echo, with every check run", async () => {
    const report = await run(await hostileGuest(), modeConfig("honest"));
    expect(report.checks.map(({ name, outcome }) => [name, outcome])).toEqual(
      Object.keys(CHECKS).map((name) => [name, "pass"]),
    );
    expect(report).toMatchObject({ passed: true, fitsPipeline: true });
  });
});

describe("finds", () => {
  const tried = async ({ module, config, check, also = [] }: BadGuest) => {
    // Generous where nothing loops: a busy machine is not the guest's fault.
    const report = await run(await module(), config, [], check === "deadline" ? 400 : 5000);
    const failed = failedIn(report);
    expect(failed.toSorted()).toEqual([check, ...also].toSorted());
    expect(report).toMatchObject({ passed: false, fitsPipeline: false });
    const sentence = report.checks.find(({ name }) => name === check)?.sentence;
    expect(sentence).toContain(CHECKS[check].remedy);
    const { columns } = await neighbour.transform([[Buffer.from("still here")]], 1);
    expect(Buffer.from(valueAt(columns[0]!, 0)!).toString()).toBe("still here");
  };
  test.each(TEN.map((guest) => [guest.what, guest.check, guest] as const))(
    "%s, by %s",
    (_what, _check, guest) => tried(guest),
  );
  test.each(OTHERS.map((guest) => [guest.what, guest.check, guest] as const))(
    "%s, by %s",
    (_what, _check, guest) => tried(guest),
  );

  test("what is no module at all", async () => {
    const report = await run(Buffer.from("no module"), Uint8Array.of());
    expect(failedIn(report)).toEqual(["module"]);
    expect(report.checks.filter(({ outcome }) => outcome === "pass")).toEqual([]);
  });

  test("what keeps it from starting, and passes what came before", async () => {
    const report = await run(readFileSync(wasmPath("desensitize")), Uint8Array.of());
    expect(report.checks.slice(0, 7).map(({ name, outcome }) => [name, outcome])).toEqual([
      ...["module", "imports", "exports", "version", "alloc"].map((name) => [name, "pass"]),
      ["configure", "fail"],
      ["empty-batch", "skipped"],
    ]);
  });

  test("that nothing was accepted, as a note", async () => {
    const config = Buffer.from(createRawConfig());
    const report = await run(readFileSync(wasmPath("desensitize")), config);
    expect(report.passed).toBe(true);
    expect(report.checks.find(({ name }) => name === "accepts-rows")).toMatchObject({
      outcome: "note",
      sentence: expect.stringContaining("--input"),
    });
  });
});
