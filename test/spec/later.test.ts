/**
 * Names of later versions are refused by name, never ignored.
 */
import { describe, expect, it } from "vitest";
import { formatComplaint } from "../../pipeline/spec/complaint.ts";
import { complaintsOf, edited } from "./fixtures.ts";

const said = (text: string): string => complaintsOf(text).map(formatComplaint).join("\n");

describe("what later versions will have", () => {
  const cases: [string, string, RegExp][] = [
    ...["encrypt", "tokenize"].map((action): [string, string, RegExp] => [
      "action: replace",
      `action: ${action}`,
      new RegExp(`action '${action}' is not in this version`),
    ]),
    [
      "  partitions: 4",
      "  partitions: 4\n  clientId: me",
      /option 'clientId' is not in this version/,
    ],
    ["compression: zstd", "compression: lz4", /compression 'lz4' is not in this version/],
    ["  backend: auto", "  backend: cuda", /backend 'cuda' is not in this version/],
    ["packing: auto", "packing: replicated", /packing 'replicated' is not in this version/],
    [
      "{ dense: 32, activation: square }",
      "{ attention: 8 }",
      /option 'attention' is not in this version/,
    ],
    ["activation: square }", "activation: gelu }", /activation 'gelu' is not in this version/],
  ];
  it.each(cases)("%j -> %j is refused by name", (from, to, says) => {
    expect(said(edited(from, to))).toMatch(says);
  });
});
