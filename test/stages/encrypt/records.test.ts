/**
 * Topic `records`: which fields are in it, for whom they are sealed, and when a data key is replaced.
 */
import { describe, expect, it } from "vitest";
import { createKeyDirectory } from "../../../pipeline/crypto/directory.ts";
import type { KeyEntry } from "../../../pipeline/crypto/key-entries.ts";
import { openField } from "../../../pipeline/crypto/sealed-field.ts";
import type { UnwrapKey } from "../../../pipeline/crypto/wrap/types.ts";
import type { EncryptState } from "../../../pipeline/stages/encrypt/state.ts";
import type { OutputRecord, StreamRecord } from "../../../pipeline/stream/contract.ts";
import { record } from "./fixtures.ts";
import {
  directoryOf,
  FIELDS,
  GRANTS,
  grant,
  keyEntries,
  LANE,
  openLane,
  readers,
  revocation,
  START,
  textsOf,
  zones,
} from "./record-world.ts";

const person = (offset: number, more: Record<string, unknown> = {}): StreamRecord =>
  record(offset, {
    name: "NAME-marker",
    diagnosis: "DIAGNOSIS-marker",
    postcode: "10***",
    ...more,
  });

/** The record at an offset with these members as they are spelled here. */
function spelled(offset: number, members: string): StreamRecord {
  const value = Buffer.from(person(offset).value ?? []).toString();
  return { ...person(offset), value: Buffer.from(`${value.slice(0, -1)},${members}}`) };
}

/** Opens every sealed string of a written record by its path; null where the reader cannot. */
function opener(
  outputs: readonly OutputRecord[],
  reader: UnwrapKey,
  before: readonly OutputRecord[] = [],
) {
  const directory = createKeyDirectory({ pipeline: "digits", zones, unwrapKeys: () => [reader] });
  const own = [...before, ...outputs].filter(({ role }) => role === "keys");
  for (const { key, value } of [...keyEntries(), ...own]) directory.apply(key, value);
  return (index: number, path: string, text: unknown) => {
    const recordId = outputs.filter(({ role }) => role === "records")[index]?.key;
    const opened = openField({
      text: String(text),
      place: { pipeline: "digits", lane: LANE, recordId: recordId!, path },
      findKey: (kid) => directory.findDataKey(kid, "records"),
    });
    return opened.status === "ok"
      ? { json: Buffer.from(opened.plaintext).toString(), sequence: opened.sequence }
      : opened.status;
  };
}

const jsonOf = (text: string | undefined) => JSON.parse(text ?? "") as Record<string, unknown>;
const roles = (outputs: readonly OutputRecord[]) =>
  outputs.map(({ role }) => role).filter((role) => role === "keys" || role === "records");

async function step(records: readonly StreamRecord[], state: EncryptState, change = {}, nowMs = 0) {
  const lane = await openLane(change);
  return lane.process(records, state, nowMs);
}

describe("a record for others", () => {
  it("has the clear fields as they were, sealed ones in place, and no other", async () => {
    const { outputs, outcomes, consumedTo } = await step([person(1)], START);
    expect({ outcomes, consumedTo }).toEqual({ outcomes: [], consumedTo: 2 });
    const [text] = textsOf(outputs);
    expect(Object.keys(jsonOf(text))).toEqual(["formId", "name", "diagnosis", "postcode"]);
    expect(jsonOf(text)).toMatchObject({ formId: "form-1", postcode: "10***" });
    const written = outputs.find(({ role }) => role === "records");
    expect(Buffer.from(written?.key ?? []).toString()).toBe("form-1");
    expect(written?.headers).toBeUndefined();
    for (const name of ["name", "diagnosis"]) {
      expect(jsonOf(text)[name]).toMatch(/^sealed:v1:[A-Za-z0-9_-]+$/);
    }
    const everything = outputs.flatMap(({ key, value }) => [...(key ?? []), ...(value ?? [])]);
    expect(Buffer.from(everything).toString("latin1")).not.toMatch(/marker|mail-1/);
  });

  it("opens for whom each field is, and for nobody else", async () => {
    const { outputs } = await step([person(1)], START);
    const { name, diagnosis } = jsonOf(textsOf(outputs)[0]);
    const [mine, yours, nobodys, owners] = [
      readers.support,
      readers.billing,
      readers.stranger,
      readers.recovery,
    ].map((reader) => opener(outputs, reader));
    expect(mine?.(0, "name", name)).toEqual({ json: '"NAME-marker"', sequence: 0 });
    expect(mine?.(0, "diagnosis", diagnosis)).toEqual({ json: '"DIAGNOSIS-marker"', sequence: 0 });
    expect(yours?.(0, "name", name)).toBe("unknown-key");
    expect(yours?.(0, "diagnosis", diagnosis)).toEqual({ json: '"DIAGNOSIS-marker"', sequence: 0 });
    expect(nobodys?.(0, "diagnosis", diagnosis)).toBe("unknown-key");
    expect(owners?.(0, "name", name)).toMatchObject({ json: '"NAME-marker"' });
  });

  it.each([
    '"text \\n é"',
    "12345678901234567890",
    "1.0",
    "-0",
    "1e400",
    "true",
    "null",
    '[1.50,[2,"x"]]',
    '{"a":{"b":1.0},"__proto__":[]}',
    '""',
  ])("seals %s as it is written", async (json) => {
    const { outputs } = await step([spelled(1, `"note":${json}`)], START);
    const { note } = jsonOf(textsOf(outputs)[0]);
    expect(opener(outputs, readers.support)(0, "note", note)).toMatchObject({ json });
  });

  it("leaves numbers in clear as they are written", async () => {
    const fields = { ...FIELDS, clear: ["postcode", "extra"] };
    const { outputs } = await step(
      [spelled(1, '"extra":[1.0,12345678901234567890,1e400]')],
      START,
      { fields },
    );
    expect(textsOf(outputs)[0]).toContain('"extra":[1.0,12345678901234567890,1e400]');
  });

  it("seals inside arrays element by element; what is not there, or of another form, stays away", async () => {
    const visits = [{ at: 1, note: "a" }, { note: "b", other: 1 }, "x", {}];
    const { outputs } = await step(
      [person(1, { visits }), person(2, { visits: "none", name: undefined })],
      START,
    );
    const [first, second] = textsOf(outputs).map(jsonOf);
    const seen = first?.["visits"] as Record<string, unknown>[];
    expect(seen).toEqual([
      { at: 1, note: expect.any(String) },
      { note: expect.any(String) },
      null,
      {},
    ]);
    const open = opener(outputs, readers.support);
    expect(open(0, "visits[1].note", seen[1]?.["note"])).toMatchObject({ json: '"b"' });
    expect(open(0, "visits[0].note", seen[1]?.["note"])).toBe("refused");
    expect(Object.keys(second ?? {})).toEqual(["formId", "diagnosis", "postcode"]);
  });

  it("is written of both kinds of record, once they are final, and of none that is refused", async () => {
    const records = [
      person(0),
      { ...person(1), value: Buffer.from("{") },
      person(2, { digit: null }),
      person(3),
    ];
    const lane = await openLane();
    const first = await lane.process(records, START, 0);
    expect(textsOf(first.outputs)).toHaveLength(1);
    expect(first.state.recordSequence).toBe(1);
    const second = await lane.process(records.slice(2), first.state, 100);
    expect(textsOf(second.outputs).map((text) => jsonOf(text)["formId"])).toEqual([
      "form-2",
      "form-3",
    ]);
    expect(second.state.recordSequence).toBe(3);
    const open = opener(second.outputs, readers.support, first.outputs);
    const sequences = textsOf(second.outputs).map((text, index) =>
      open(index, "name", jsonOf(text)["name"]),
    );
    expect(sequences).toMatchObject([{ sequence: 1 }, { sequence: 2 }]);
  });

  it("is not written when the file does not ask for it", async () => {
    const { outputs, consumedTo, state } = await step([person(1)], START, { fields: null });
    expect(roles(outputs)).toEqual(["keys"]);
    expect({ consumedTo, sequence: state.recordSequence }).toEqual({ consumedTo: 2, sequence: 0 });
  });

  it("that would not fit into a message is refused", async () => {
    const large = person(0, { name: "x".repeat(700_000) });
    const small = person(1, { postcode: "x".repeat(700_000) });
    const many = person(2, { visits: Array.from({ length: 8_000 }, () => ({ note: 1 })) });
    const { outputs, outcomes } = await step([large, small, many, person(3)], START);
    expect(outcomes).toEqual(
      [0, 2].map((offset) => ({ offset, kind: "dead-letter", reason: "too-large" })),
    );
    expect(textsOf(outputs)).toHaveLength(2);
    const fits = await step([person(0, { name: "x".repeat(600_000) })], START);
    expect(Math.max(...textsOf(fits.outputs).map((text) => text.length))).toBeLessThanOrEqual(
      900 * 1024,
    );
    expect(fits.outcomes).toEqual([]);
  });
});

describe("data keys of records", () => {
  it("are one for each audience of a lane, announced before their first use", async () => {
    const { outputs, state } = await step([person(0), person(1)], START);
    expect(roles(outputs)).toEqual(["keys", "keys", "keys", "records", "records"]);
    const next = await step([person(2)], state);
    expect(roles(next.outputs)).toEqual(["records"]);
  });

  it("are replaced by count, each for itself", async () => {
    const fields = { ...FIELDS, rotateAfterRecords: 2 };
    const records = [person(0), person(1, { diagnosis: undefined }), person(2), person(3)];
    const { outputs } = await step(records, START, { fields });
    expect(roles(outputs).join(" ")).toBe(
      "keys keys keys records records keys records keys records",
    );
  });

  it("are replaced by age, also when the clock was set back", async () => {
    const fields = { ...FIELDS, rotateAfterMs: 1000 };
    const { state } = await step([person(0)], START, { fields }, 5000);
    const madeFor = async (nowMs: number) =>
      roles((await step([person(1)], state, { fields }, nowMs)).outputs);
    expect(await madeFor(5999)).toEqual(["records"]);
    expect(await madeFor(6000)).toEqual(["keys", "keys", "records"]);
    // The key of examples is as old, and is replaced with them.
    expect(await madeFor(3000)).toEqual(["keys", "keys", "keys", "records"]);
  });

  it("are replaced before a record that would take them over the limit of one key", async () => {
    const { state } = await step([person(0)], START);
    const left = (uses: number) => ({
      ...state,
      recordKeys: new Map(
        [...state.recordKeys].map(([name, key]) => {
          const dataKey = { ...key.dataKey, uses: key.dataKey.limit - uses };
          return [name, { ...key, dataKey }];
        }),
      ),
    });
    const both = person(1, { note: "x" });
    expect(roles((await step([both], left(2))).outputs)).toEqual(["records"]);
    expect(roles((await step([both], left(1))).outputs)).toEqual(["keys", "records"]);
  });

  it("are replaced when a name gets another key, and only that name's", async () => {
    const entries = keyEntries();
    const { state, outputs } = await step([person(0)], START, { directory: directoryOf(entries) });
    const other = grant("billing", readers.stranger, 2);
    const after = await step([person(1)], state, { directory: directoryOf([...entries, other]) });
    expect(roles(after.outputs)).toEqual(["keys", "records"]);
    const { diagnosis } = jsonOf(textsOf(after.outputs)[0]);
    expect(opener(after.outputs, readers.billing, outputs)(0, "diagnosis", diagnosis)).toBe(
      "unknown-key",
    );
    expect(opener(after.outputs, readers.stranger)(0, "diagnosis", diagnosis)).toMatchObject({
      json: '"DIAGNOSIS-marker"',
    });
  });

  it("are replaced when somebody is revoked: the next record is not for them, and nothing waits", async () => {
    const entries = keyEntries();
    const before = await step([person(0)], START, { directory: directoryOf(entries) });
    const revoked = [...entries, revocation(readers.support)];
    for (const state of [before.state, START]) {
      const after = await step([person(1)], state, { directory: directoryOf(revoked) });
      expect(after.consumedTo).toBe(2);
      const { name, diagnosis } = jsonOf(textsOf(after.outputs)[0]);
      const own = opener(after.outputs, readers.support, before.outputs);
      expect([own(0, "name", name), own(0, "diagnosis", diagnosis)]).toEqual([
        "unknown-key",
        "unknown-key",
      ]);
      expect(opener(after.outputs, readers.billing)(0, "diagnosis", diagnosis)).toMatchObject({
        json: '"DIAGNOSIS-marker"',
      });
      expect(opener(after.outputs, readers.recovery)(0, "name", name)).toMatchObject({
        json: '"NAME-marker"',
      });
    }
  });

  it("do not outlive a restart, and sequences go on", async () => {
    const before = await step([person(0), person(1)], START);
    const lane = await openLane();
    const state = await lane.restore(lane.encode!(before.state), 2);
    const after = await lane.process([person(2)], state, 0);
    expect(roles(after.outputs)).toEqual(["keys", "keys", "keys", "records"]);
    const { name } = jsonOf(textsOf(after.outputs)[0]);
    expect(opener(after.outputs, readers.support)(0, "name", name)).toMatchObject({ sequence: 2 });
  });

  it("go along with a result that is thrown away", async () => {
    const lane = await openLane();
    const thrown = await lane.process([person(0)], START, 0);
    const again = await lane.process([person(0)], START, 0);
    expect(roles(again.outputs)).toEqual(roles(thrown.outputs));
    const { name } = jsonOf(textsOf(again.outputs)[0]);
    expect(opener(again.outputs, readers.support)(0, "name", name)).toMatchObject({ sequence: 0 });
  });
});

describe("a name without a grant", () => {
  async function withGrants(grants: readonly KeyEntry[], without?: RegExp) {
    const told: (readonly string[])[] = [];
    const result = await step(
      [{ ...person(0), value: Buffer.from("{") }, person(1)],
      START,
      {
        directory: directoryOf(keyEntries(grants, without)),
        onMissingGrants: (names: readonly string[]) => told.push(names),
      },
      5000,
    );
    return { result, told };
  }

  it("makes records wait, says whom for, and lets go when it comes", async () => {
    const { result, told } = await withGrants(GRANTS.slice(0, 1));
    expect(result).toMatchObject({ consumedTo: 1, outputs: [], wakeAtMs: 5200 });
    expect(told).toEqual([["billing"]]);
    const none = await withGrants([]);
    expect(none.told).toEqual([["billing", "support"]]);
    const all = await withGrants(GRANTS);
    expect(all.result).toMatchObject({ consumedTo: 2, wakeAtMs: null });
    expect(all.told).toEqual([[]]);
  });

  it("waits also for an audience that nobody is left of, when there is no recovery key", async () => {
    const revoked = [...GRANTS, revocation(readers.support)];
    expect((await withGrants(revoked)).result.consumedTo).toBe(2);
    const { result, told } = await withGrants(revoked, /owner-recovery/);
    expect(result.consumedTo).toBe(1);
    expect(told).toEqual([["support"]]);
  });
});

describe("keys of other zones that are not there", () => {
  it.each(["training-unwrap", "consumer-unwrap"])("are named: %s", async (purpose) => {
    const told: (readonly string[])[] = [];
    const onMissingKeys = (purposes: readonly string[]) => told.push(purposes);
    const directory = directoryOf(keyEntries(GRANTS, new RegExp(purpose)));
    await step([person(0)], START, { directory, onMissingKeys });
    await step([person(0)], START, { directory: directoryOf(keyEntries(GRANTS)), onMissingKeys });
    expect(told).toEqual([[purpose], []]);
  });
});
