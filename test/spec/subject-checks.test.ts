/** A file that speaks of people is refused unless one lane sees all records of a person. */
import { describe, expect, it } from "vitest";
import { formatComplaint } from "../../pipeline/spec/complaint.ts";
import { complaintsOf, edited, exampleText, loadGood } from "./fixtures.ts";

const said = (text: string): string[] => complaintsOf(text).map(formatComplaint);
const withBound = (text = exampleText): string =>
  edited("delta: 1e-5 }", "delta: 1e-5, recordsPerSubject: 2 }", text);
const withPartitioner = (text = exampleText): string =>
  edited("  subject: email", "  subject: email\n  partitioner: subject", text);
const lineOf = (text: string, part: string): number =>
  text.slice(0, text.indexOf(part)).split("\n").length;

describe("privacy.recordsPerSubject", () => {
  it("is taken with a subject that raw is partitioned by", () => {
    const spec = loadGood(withBound(withPartitioner()));
    expect(spec.privacy.recordsPerSubject).toBe(2);
    expect(spec.record.partitioner).toBe("subject");
    expect(loadGood(exampleText).privacy.recordsPerSubject).toBeNull();
    expect(loadGood(exampleText).record.partitioner).toBe("none");
  });

  it("is refused without the partitioner, with line and path", () => {
    const text = withBound();
    const [complaint, ...others] = said(text);
    expect(others).toEqual([]);
    expect(complaint).toMatch(
      new RegExp(
        `:${lineOf(text, "recordsPerSubject")}:.*privacy.recordsPerSubject.*record.partitioner: subject`,
      ),
    );
  });

  it("is refused without a subject", () => {
    const text = withBound(edited("  subject: email\n", ""));
    expect(said(text).join("\n")).toMatch(/privacy.recordsPerSubject.*needs record.subject/);
  });

  it.each(["0", "65536", "1.5", "all"])("is refused when it is %s", (k) => {
    const text = withPartitioner(edited("delta: 1e-5 }", `delta: 1e-5, recordsPerSubject: ${k} }`));
    expect(said(text).join("\n")).toMatch(/privacy.recordsPerSubject/);
  });
});

describe("record.partitioner", () => {
  it("is refused without a subject, and when it is none that there is", () => {
    const text = edited("  subject: email", "  partitioner: subject");
    expect(said(text).join("\n")).toMatch(/record.partitioner.*needs record.subject/);
    expect(said(edited("  subject: email", "  subject: email\n  partitioner: id")).join()).toMatch(
      /record.partitioner/,
    );
  });
});
