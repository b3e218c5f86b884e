/** Data keys that a reader of `records` does not have yet: how long it waits, and for what. */
import { describe, expect, it } from "vitest";
import type { RemoteUnwrapKey } from "../../pipeline/crypto/wrap/types.ts";
import { directoryOf, GRANTS, grant, keyEntries, readers } from "../stages/encrypt/record-world.ts";
import { createRecordLog, written } from "./record-log.ts";
import { forged, inLane, person, read, write } from "./record-reading.ts";

describe("a data key that is not there yet", () => {
  it("is waited for, and read when it comes", async () => {
    const { outputs } = await write([person(0)]);
    const log = createRecordLog(keyEntries(), inLane(written(outputs, "records")));
    setTimeout(() => log.keys.push(...written(outputs, "keys")), 300);
    const { records } = await read([], [], { client: log.client, keyWaitMs: 5_000 });
    expect(records).toMatchObject([{ fields: { name: "name-0" }, sealed: [], refused: [] }]);
  });

  it("is given up after the limit, with a reason", async () => {
    const { outputs } = await write([person(0)]);
    const log = createRecordLog(keyEntries(), inLane(written(outputs, "records")));
    const { records, refused } = await read([], [], { client: log.client, keyWaitMs: 300 });
    expect(records).toMatchObject([{ sequence: null, refused: ["name", "diagnosis"] }]);
    expect(refused[0]).toEqual({ lane: 2, offset: 0, field: "name", reason: "key-unknown" });
  });

  it("that never comes costs a lane one wait, however many there are, and no record behind it", async () => {
    const before = await write([person(0)]);
    const after = await write([person(1)], {}, before.state);
    const [good] = written(before.outputs, "records");
    const junk = Array.from({ length: 40 }, (_, index) =>
      forged(good!, (fields) => {
        const sealed = Buffer.from(String(fields["name"]).slice("sealed:v1:".length), "base64url");
        // The data key's kid, which nothing in an envelope of an unknown key proves.
        const { kid } = before.state.recordKeys.get("support")?.dataKey ?? {
          kid: new Uint8Array(),
        };
        sealed.set([index, 255], sealed.indexOf(kid));
        fields["name"] = `sealed:v1:${sealed.toString("base64url")}`;
        delete fields["diagnosis"];
      }),
    );
    const lanes = inLane([...junk, good!, ...written(after.outputs, "records")]);
    const log = createRecordLog(keyEntries(), lanes);
    // Announced when the lane waits no more, and before the record is reached.
    setTimeout(() => log.keys.push(...written([...before.outputs, ...after.outputs], "keys")), 400);
    const startedMs = performance.now();
    const { records, refused } = await read([], [], { client: log.client, keyWaitMs: 500 });
    expect(performance.now() - startedMs).toBeLessThan(40 * 500 * 0.25);
    expect(refused.filter(({ reason }) => reason === "key-unknown")).toHaveLength(40);
    expect(records.slice(-2)).toMatchObject([
      { fields: { name: "name-0" }, refused: [] },
      { fields: { name: "name-1" }, refused: [] },
    ]);
  });

  it("is waited for while a service is unwrapping it", async () => {
    const { outputs } = await write([person(0)]);
    const { algorithm: _local, unwrap, ...rest } = readers.support;
    const remote: RemoteUnwrapKey = {
      ...rest,
      algorithm: "kms",
      async unwrapRemotely(wrapped, binding) {
        await new Promise((resolve) => setTimeout(resolve, 300));
        return unwrap(wrapped, binding);
      },
    };
    const lanes = inLane(written(outputs, "records"));
    const { records } = await read(outputs, lanes, { keys: [remote], keyWaitMs: 5_000 });
    expect(records).toMatchObject([{ fields: { name: "name-0", diagnosis: 0 }, sealed: [] }]);
  });

  it("opens for somebody who was granted while records flow, from the next record on", async () => {
    const before = await write([person(0)]);
    const entries = [...keyEntries(), grant("billing", readers.stranger, 2)];
    const after = await write([person(1)], { directory: directoryOf(entries) }, before.state);
    const outputs = [...before.outputs, ...after.outputs];
    const { records } = await read(outputs, inLane(written(outputs, "records")), {
      reader: readers.stranger,
    });
    expect(records).toMatchObject([
      { sealed: ["name", "diagnosis"], sequence: null },
      { sealed: ["name"], fields: { diagnosis: 1 }, sequence: 1 },
    ]);
    expect(GRANTS).toHaveLength(2);
  });
});
