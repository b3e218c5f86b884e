/** A slow key management service costs time, never records: what is being unwrapped is not given up as unknown. */
import { setImmediate as turn } from "node:timers/promises";
import { expect, test } from "vitest";
import { freshnessOf } from "../../pipeline/commands/stages/world.ts";
import { encodeCbor } from "../../pipeline/crypto/cbor.ts";
import { createDataKey, type DataKey } from "../../pipeline/crypto/data-key.ts";
import { createKeyDirectory } from "../../pipeline/crypto/directory.ts";
import { sealEnvelope } from "../../pipeline/crypto/envelope.ts";
import type { StageSigningPurpose, UnwrapPurpose } from "../../pipeline/crypto/key-purposes.ts";
import type { Kms } from "../../pipeline/crypto/kms/kms.ts";
import { createRecipient, createRemoteUnwrapKey } from "../../pipeline/crypto/wrap/key-wrap.ts";
import { emptyInbox, examine, type InboxRules } from "../../pipeline/stages/aggregate/inbox.ts";
import { createExampleWindow } from "../../pipeline/stages/train/example-window.ts";
import { restoreState } from "../../pipeline/stages/train/state.ts";
import type { StreamRecord } from "../../pipeline/stream/contract.ts";
import { createWorld, PIPELINE } from "../crypto/fixtures.ts";

const world = createWorld();
const URI = "vault:transit/keys/x";
const RUN = "00".repeat(16);

/** A service that answers nothing until it is let. */
function heldService(): { kms: Kms; answer: () => Promise<void> } {
  const kept: Uint8Array[] = [];
  let waiting: (() => void)[] = [];
  const kms: Kms = {
    schemes: ["vault"],
    wrap: async (_uri, key) => Uint8Array.of(kept.push(Uint8Array.from(key)) - 1),
    unwrap: (_uri, [index = 0]) =>
      new Promise((resolve) => {
        waiting.push(() => resolve(Uint8Array.from(kept[index] ?? [])));
      }),
    publicKey: async () => null,
  };
  return {
    kms,
    async answer() {
      for (const resolve of waiting) resolve();
      waiting = [];
      await turn();
    },
  };
}

/** A directory whose keys are in the service, and a tail that has always just been read to its end. */
function setup(purpose: UnwrapPurpose, signer: StageSigningPurpose) {
  const { kms, answer } = heldService();
  const directory = createKeyDirectory({
    pipeline: PIPELINE,
    zones: world.zones,
    unwrapKeys: () => [createRemoteUnwrapKey(purpose, URI, kms)],
  });
  for (const { key, value } of world.entries) directory.apply(key, value);
  const recipients = [createRecipient(purpose, Buffer.from(URI), "kms")];
  let nowMs = 1_000;
  return {
    directory,
    answer,
    now: () => nowMs,
    pass: () => {
      nowMs += 300;
    },
    keysFreshAsOf: freshnessOf(directory, () => nowMs - 100),
    async makeKey(topic: "examples" | "contributions", lane: number, isAnnounced: boolean) {
      const made = await createDataKey({
        ...{ pipeline: PIPELINE, topic, lane, recipients, kms },
        signer: world.signing(signer),
      });
      if (isAnnounced) directory.apply(made.entry.key, made.entry.value);
      return made.dataKey;
    },
  };
}

test("aggregate waits for keys that are still being unwrapped, one after the other", async () => {
  const { directory, keysFreshAsOf, makeKey, now, pass, answer } = setup(
    "contribution-unwrap",
    "train-signing",
  );
  const records = await Promise.all(
    [0, 1].map(async (lane): Promise<StreamRecord> => {
      const key = Buffer.from(`${RUN}/${lane}/0-32`);
      const value = sealEnvelope({
        dataKey: await makeKey("contributions", lane, true),
        plaintext: new Uint8Array(9),
        context: {
          ...{ pipeline: PIPELINE, topic: "contributions", lane },
          ...{ recordId: key, schemaVersion: 1 },
        },
        sequence: 0,
      });
      const headers = { "sealstream-lane": Buffer.from(String(lane)) };
      return { offset: lane, key, value, headers, timestampMs: 0 };
    }),
  );
  const rules: InboxRules = {
    ...{ pipeline: PIPELINE, directory, runId: RUN, configHash: "", modelVersion: 0 },
    ...{ coordinates: 1, places: 32, fractionBits: 1, laneNext: {}, refusedForKey: [] },
    keysFreshAsOf,
  };
  let inbox = emptyInbox(0);
  const blocked: boolean[] = [];
  for (let round = 0; round < 6; round += 1) {
    const step = examine(inbox, records, rules, now());
    expect(step.givenUp).toEqual([]);
    inbox = step.inbox;
    blocked.push(inbox.isBlocked);
    pass();
    if (round % 2 === 1) await answer();
  }
  // Each key took two rounds; what was sealed is no contribution, which is said once it can be opened.
  expect(blocked).toEqual([true, true, true, true, false, false]);
  expect(inbox.refused).toMatchObject([
    { reason: "contribution-refused" },
    { reason: "contribution-refused" },
  ]);
});

test("train gives up a record of an unknown key, and not those behind it whose key is being unwrapped", async () => {
  const { directory, keysFreshAsOf, makeKey, now, pass, answer } = setup(
    "training-unwrap",
    "owner-signing",
  );
  const good = await makeKey("examples", 0, true);
  const unknown = await makeKey("examples", 0, false);
  const example = (dataKey: DataKey, offset: number): StreamRecord => {
    const key = Buffer.from(`r${offset}`);
    const value = sealEnvelope({
      dataKey,
      plaintext: encodeCbor({ v: 1, x: new Uint8Array(8), y: 0 }),
      context: {
        ...{ pipeline: PIPELINE, topic: "examples", lane: 0, recordId: key, schemaVersion: 1 },
        attributes: { split: "train" },
      },
      sequence: offset,
    });
    return {
      ...{ offset, key, value, timestampMs: 0 },
      headers: { "sealstream-split": Buffer.from("train") },
    };
  };
  const records = [example(unknown, 0), example(good, 1), example(good, 2)];
  const window = createExampleWindow(
    { pipeline: PIPELINE, lane: 0, directory, inputs: 2, classes: 2, recordsPerSubject: null },
    keysFreshAsOf,
  );
  const state = restoreState(null, 0);
  const reasons = () => window.read(records, state, now()).items.map(({ reason }) => reason);
  expect(reasons()).toEqual([]);
  pass();
  expect(reasons()).toEqual(["key-unknown"]);
  pass();
  expect(reasons()).toEqual(["key-unknown"]);
  await answer();
  expect(reasons()).toEqual(["key-unknown", null, null]);
});

test("a view is as fresh as it was read, and not fresh at all while a key is being unwrapped", () => {
  let busy = false;
  let readToMs = 5;
  const fresh = freshnessOf({ isBusy: () => busy }, () => readToMs);
  expect(fresh()).toBe(5);
  busy = true;
  expect(fresh()).toBe(Number.NEGATIVE_INFINITY);
  busy = false;
  readToMs = 9;
  expect(fresh()).toBe(9);
});
