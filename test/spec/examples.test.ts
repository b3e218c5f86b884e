/** The examples that users copy load as they are, and so does the plain file that other tests edit. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { formatComplaint } from "../../pipeline/spec/complaint.ts";
import { loadPipelineSpec } from "../../pipeline/spec/load.ts";

const ROOT = join(import.meta.dirname, "../..");

describe("pipeline files that are shipped", () => {
  it.each(["examples/digits", "examples/clinic", "examples/mnist", "test/fixtures/digits"])(
    "%s has no complaint",
    (folder) => {
      const path = join(ROOT, folder, "pipeline.yaml");
      const loaded = loadPipelineSpec({ path, readFile: readFileSync, env: {} });
      const complaints = loaded.status === "ok" ? [] : loaded.complaints.map(formatComplaint);
      expect(complaints).toEqual([]);
    },
  );

  it("keeps one record schema for the example and the file that tests edit", () => {
    const [shipped, edited] = ["examples", "test/fixtures"].map((folder) =>
      readFileSync(join(ROOT, folder, "digits/form.schema.json"), "utf8"),
    );
    expect(edited).toBe(shipped);
  });
});
