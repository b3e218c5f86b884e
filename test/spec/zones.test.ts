/** Pinned identities in a pipeline file: one of each zone, a list while one is being replaced, and what is revoked. */
import { expect, it } from "vitest";
import { formatComplaint } from "../../pipeline/spec/complaint.ts";
import { formatIdentity } from "../../pipeline/spec/identity.ts";
import { complaintsOf, exampleText, loadGood } from "./fixtures.ts";

const identity = (byte: number): string => formatIdentity(new Uint8Array(32).fill(byte));
const ZONES = `zones: { owner: "${identity(1)}", training: "${identity(2)}", prediction: "${identity(3)}", consumer: "${identity(4)}" }\n`;
const said = (text: string): string => complaintsOf(text).map(formatComplaint).join("\n");

it("reads a list of identities while one is being replaced, and what was revoked", () => {
  const both = ZONES.replace(
    `owner: "${identity(1)}"`,
    `owner: ["${identity(5)}", "${identity(1)}"]`,
  );
  const spec = loadGood(`${exampleText + both}revoked: ["${"0a".repeat(16)}"]\n`);
  expect(spec.zones?.owner).toEqual([5, 1].map((byte) => new Uint8Array(32).fill(byte)));
  expect(spec.revoked).toEqual(["0a".repeat(16)]);
  expect(said(`${exampleText + ZONES}revoked: ["0a"]\n`)).toMatch(/revoked\[0\]: .*32 hex digits/);
  const twice = ZONES.replace(
    `owner: "${identity(1)}"`,
    `owner: ["${identity(1)}", "${identity(1)}"]`,
  );
  expect(said(exampleText + twice)).toMatch(/zones.owner\[1\]: expected another identity/);
});
