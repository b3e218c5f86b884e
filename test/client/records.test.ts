/**
 * Readers of `records` over what a real encrypt stage wrote: each sees its own fields, and nothing that was tampered with.
 */
import { describe, expect, it } from "vitest";
import { openRecords } from "../../pipeline/client/records.ts";
import { FIELDS, keyEntries, readers, START, specWith } from "../stages/encrypt/record-world.ts";
import { createRecordLog, type Written, written } from "./record-log.ts";
import { fieldsOf, forged, inLane, person, type Read, read, write } from "./record-reading.ts";

describe("a reader of records", () => {
  it("sees the fields that are for it, and the names of the others", async () => {
    const { outputs } = await write([person(0, { visits: [{ at: 1, note: "v" }] }), person(1)]);
    const lanes = inLane(written(outputs, "records"));
    const mine = await read(outputs, lanes);
    expect(mine.refused).toEqual([]);
    expect(mine.records).toMatchObject([
      {
        ...{ id: "form-0", lane: 2, offset: 0, sequence: 0, sealed: [], refused: [] },
        fields: { formId: "form-0", name: "name-0", diagnosis: 0, visits: [{ at: 1, note: "v" }] },
      },
      { id: "form-1", offset: 1, sequence: 1, fields: { name: "name-1" } },
    ]);
    const yours = await read(outputs, lanes, { reader: readers.billing });
    expect(yours.records[0]).toEqual({
      ...{ id: "form-0", lane: 2, offset: 0, sequence: 0, refused: [] },
      fields: { formId: "form-0", visits: [{ at: 1 }], diagnosis: 0, postcode: "10***" },
      sealed: ["name", "visits[0].note"],
      text: expect.any(String),
    });
    const nobodys = await read(outputs, lanes, { reader: readers.stranger });
    expect(nobodys.records[1]).toMatchObject({
      fields: { formId: "form-1", postcode: "10***" },
      ...{ sealed: ["name", "diagnosis"], sequence: null, refused: [] },
    });
  });

  it("gets numbers as they were written, in clear and sealed", async () => {
    const [first] = [person(0)];
    const text = Buffer.from(first!.value!)
      .toString()
      .replace('"diagnosis":0', '"diagnosis":12345678901234567890.10');
    const { outputs } = await write([
      { ...first!, value: Buffer.from(text.replace('"10***"', "1.0")) },
    ]);
    const { records } = await read(outputs, inLane(written(outputs, "records")));
    expect(records[0]?.text).toContain('"diagnosis":12345678901234567890.10,"postcode":1.0');
  });

  it("follows until it is stopped, all lanes side by side", async () => {
    const first = await write([person(0)]);
    const other = await write([person(1)], { lane: 1 });
    const keys = [...keyEntries(), ...written([...first.outputs, ...other.outputs], "keys")];
    const lanes = [[], written(other.outputs, "records"), written(first.outputs, "records"), []];
    const log = createRecordLog(keys, lanes);
    const stop = new AbortController();
    const seen: (readonly [string, unknown])[] = [];
    const found = openRecords({
      ...{ client: log.client, spec: specWith(FIELDS), keys: [readers.support] },
      ...{ follow: true, signal: stop.signal },
    });
    for await (const { id, fields } of found) {
      seen.push([id, fields["name"]]);
      if (seen.length === 2) {
        const { outputs } = await write([person(5)], {}, { ...START, recordSequence: 1 });
        lanes[2]?.push(...written(outputs, "records"));
        keys.push(...written(outputs, "keys"));
      }
      if (seen.length === 3) stop.abort();
    }
    expect(seen.sort()).toEqual([0, 1, 5].map((n) => [`form-${n}`, `name-${n}`]));
  });

  it("ends with a reason when the file shares nothing", async () => {
    const options = { spec: specWith(null) };
    await expect(read([], [], options)).rejects.toMatchObject({ code: "spec-invalid" });
    const unpinned = { spec: { ...specWith(FIELDS), zones: null } };
    await expect(read([], [], unpinned)).rejects.toMatchObject({ code: "key-missing" });
  });
});

describe("what was tampered with", () => {
  async function tampered(change: (records: Written[]) => Written[], reader = readers.support) {
    const { outputs } = await write([
      person(0),
      person(1, { visits: [{ note: "a" }, { note: "b" }] }),
      person(2),
    ]);
    return read(outputs, inLane(change(written(outputs, "records"))), { reader });
  }
  const reasons = ({ refused }: Read) =>
    refused.map(({ offset, field, reason }) => `${offset} ${field} ${reason}`);

  it("is a field in another field's place", async () => {
    const result = await tampered(([one, ...rest]) => [
      forged(one!, (fields) => {
        [fields["name"], fields["diagnosis"]] = [fields["diagnosis"], fields["name"]];
      }),
      ...rest,
    ]);
    expect(reasons(result)).toEqual(["0 name envelope-refused", "0 diagnosis envelope-refused"]);
    expect(result.records[0]).toMatchObject({
      fields: { formId: "form-0", postcode: "10***" },
      ...{ sequence: null, refused: ["name", "diagnosis"] },
    });
    expect(result.records[0]?.fields).not.toHaveProperty("name");
  });

  it("is an element in another's place", async () => {
    const result = await tampered(([one, two, three]) => [
      one!,
      forged(two!, (fields) => (fields["visits"] as unknown[]).reverse()),
      three!,
    ]);
    expect(reasons(result)).toEqual([
      "1 visits[0].note envelope-refused",
      "1 visits[1].note envelope-refused",
    ]);
    expect(result.records[1]?.fields).toMatchObject({ name: "name-1", visits: [{}, {}] });
  });

  it("is a field of another record, and a record under another's id", async () => {
    const result = await tampered(([one, two, three]) => [
      one!,
      forged(two!, (fields) => {
        fields["name"] = fieldsOf(one)["name"];
      }),
      { key: Buffer.from("form-9"), value: three!.value },
    ]);
    expect(reasons(result)).toEqual([
      "1 name envelope-refused",
      "2 name envelope-refused",
      "2 diagnosis envelope-refused",
    ]);
  });

  it("is a record of another lane", async () => {
    const { outputs } = await write([person(0)]);
    const result = await read(outputs, [[], written(outputs, "records"), [], []]);
    expect(reasons(result)).toEqual(["0 name envelope-refused", "0 diagnosis envelope-refused"]);
  });

  it("is a record that came before, or later than one behind it", async () => {
    const copied = await tampered(([one, two, three]) => [one!, two!, one!, three!]);
    expect(reasons(copied)).toEqual(["2 name replayed", "2 diagnosis replayed"]);
    expect(copied.records.map(({ sequence }) => sequence)).toEqual([0, 1, null, 2]);
    expect(copied.records[2]?.text).not.toContain("name-0");
    const swapped = await tampered(([one, two, three]) => [one!, three!, two!]);
    expect(swapped.refused.map(({ offset, reason }) => `${offset} ${reason}`)).toContain(
      "2 replayed",
    );
    const lastSequence = () => 1;
    const { outputs } = await write([person(0), person(1), person(2)]);
    const resumed = await read(outputs, inLane(written(outputs, "records")), { lastSequence });
    expect(resumed.records.map(({ sequence }) => sequence)).toEqual([null, null, 2]);
  });

  it("is a record put together from two of the same id", async () => {
    const again = { ...person(0), offset: 1 };
    const { outputs } = await write([person(0), again]);
    const [one, two] = written(outputs, "records");
    const mixed = forged(two!, (fields) => {
      fields["name"] = fieldsOf(one)["name"];
    });
    const result = await read(outputs, inLane([mixed]));
    expect(reasons(result)).toEqual(["0 name sequence-differs", "0 diagnosis sequence-differs"]);
    const later = await read(outputs, inLane([one!, mixed]));
    expect(reasons(later)).toEqual(["1 name replayed"]);
    expect(later.records[1]?.fields).toMatchObject({ diagnosis: 0 });
  });

  it("is clear text where a sealed field belongs, a field nobody named, and an object for an array", async () => {
    const result = await tampered(([one, two, three]) => [
      forged(one!, (fields) => {
        fields["name"] = "somebody else";
        fields["email"] = "a@b.example";
      }),
      forged(two!, (fields) => {
        fields["visits"] = { note: "x" };
      }),
      forged(three!, (fields) => {
        fields["visits"] = ["somebody else"];
      }),
    ]);
    expect(reasons(result)).toEqual([
      "0 name not-sealed",
      "0 email unknown-field",
      "1 visits unknown-field",
      "2 visits[0] unknown-field",
    ]);
    const texts = result.records.map(({ text }) => text).join();
    expect(texts).not.toMatch(/somebody|example/);
  });

  it("is every flipped bit, and every other spelling, of a sealed field", async () => {
    const { outputs } = await write([person(0)]);
    const [one] = written(outputs, "records");
    const sealed = String(fieldsOf(one)["name"]);
    const bytes = Buffer.from(sealed.slice("sealed:v1:".length), "base64url");
    const variants = [...bytes.keys()].map((index) => {
      const copy = Buffer.from(bytes);
      copy[index]! ^= 1 << (index % 8);
      return `sealed:v1:${copy.toString("base64url")}`;
    });
    const cut = [1, 20, bytes.length - 1].map(
      (end) => `sealed:v1:${bytes.subarray(0, end).toString("base64url")}`,
    );
    const spellings = [
      `${sealed}=`,
      `${sealed}A`,
      ` ${sealed}`,
      sealed.replace("v1", "v2"),
      `${sealed.slice(0, 10)} ${sealed.slice(10)}`,
      "sealed:v1:",
    ];
    const all = [...variants, ...cut, ...spellings].map((text) =>
      forged(one!, (fields) => {
        fields["name"] = text;
        delete fields["diagnosis"];
      }),
    );
    const { records } = await read(outputs, inLane(all));
    expect(records).toHaveLength(all.length);
    for (const { fields, refused } of records) {
      expect(fields).not.toHaveProperty("name");
      expect(refused).toEqual(["name"]);
    }
  });

  it("is a record that is none", async () => {
    const junk: Written[] = [
      { key: null, value: Buffer.from("{}") },
      { key: Uint8Array.of(255), value: Buffer.from("{}") },
      { key: Buffer.from("a"), value: null },
      { key: Buffer.from("a"), value: Buffer.from("[]") },
      { key: Buffer.from("a"), value: Buffer.from("{") },
      { key: Buffer.from("a"), value: Uint8Array.of(0x22, 255, 0x22) },
    ];
    const result = await tampered((records) => [...junk, ...records]);
    expect(reasons(result)).toEqual(
      [0, 1, 2, 3, 4, 5].map((n) => `${n} null ${n < 2 ? "record-id" : "not-json"}`),
    );
    expect(result.records).toHaveLength(3);
  });

  it("is not what a person typed into a field in clear, whatever it looks like", async () => {
    const { outputs } = await write([person(0)]);
    const [good] = written(outputs, "records");
    const sealed = String(fieldsOf(good)["name"]);
    const typed = [
      "sealed:v1:",
      "sealed:v1:hello",
      sealed,
      `${sealed.slice(0, 30)}AAAA${sealed.slice(34)}`,
    ];
    const all = typed.map((text) =>
      forged(good!, (fields) => Object.assign(fields, { postcode: text, name: 0 })),
    );
    const startedMs = performance.now();
    const { records, refused } = await read(outputs, inLane(all), { keyWaitMs: 5_000 });
    expect(records.map(({ fields }) => fields["postcode"])).toEqual(typed);
    expect(refused.filter(({ field }) => field === "postcode")).toEqual([]);
    expect(performance.now() - startedMs).toBeLessThan(5_000);
  });

  it("is a data key that the owner did not announce", async () => {
    const { outputs } = await write([person(0)]);
    const result = await read(
      outputs.filter(({ role }) => role !== "keys"),
      inLane(written(outputs, "records")),
    );
    expect(reasons(result)).toEqual(["0 name key-unknown", "0 diagnosis key-unknown"]);
  });
});
