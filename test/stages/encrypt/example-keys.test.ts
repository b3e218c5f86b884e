/** Data keys of examples as the pipeline file wants them: how old one may become, and which cipher it seals with. */
import { randomBytes } from "node:crypto";
import { expect, it } from "vitest";
import { createLiveSigner, createSigningKey } from "../../../pipeline/crypto/key-handles.ts";
import type { Kms } from "../../../pipeline/crypto/kms/kms.ts";
import { createRecipient } from "../../../pipeline/crypto/wrap/key-wrap.ts";
import { SealstreamError } from "../../../pipeline/errors.ts";
import { createEncryptStage } from "../../../pipeline/stages/encrypt/stage.ts";
import { restoreState } from "../../../pipeline/stages/encrypt/state.ts";
import { edited } from "../../spec/fixtures.ts";
import { asRecords, makeZones, record, smallSpec } from "./fixtures.ts";

const zones = await makeZones("digits");
const START = restoreState(null);

/** A lane under the digits example with `more` behind its encrypt.examples. */
async function openLane(more: string, kms?: Kms, signer = zones.owner.signing("owner-signing")) {
  const directory = zones.directory();
  const uri = Buffer.from("vault:transit/keys/training");
  const inService = [createRecipient("training-unwrap", uri, "kms")];
  const stage = createEncryptStage({
    spec: smallSpec((text) =>
      edited("rotateAfterRecords: 100000", `rotateAfterRecords: 100000${more}`, text),
    ),
    directory: kms === undefined ? directory : { ...directory, recipientsFor: () => inService },
    kms,
    signer,
    splitSecret: zones.owner.secret("split"),
    packing: () => null,
    mostPackRecords: 4,
    random: randomBytes,
  });
  return stage.openLane(0);
}

it("a data key is replaced after rotateAfterMs, and when the clock was set back", async () => {
  const lane = await openLane(", rotateAfterMs: 5000");
  let state = START;
  const rolesAt = async (offset: number, nowMs: number) => {
    const result = await lane.process([record(offset)], state, nowMs);
    ({ state } = result);
    return result.outputs.map(({ role }) => role);
  };
  expect(await rolesAt(0, 10_000)).toEqual(["keys", "examples"]);
  expect(await rolesAt(1, 14_999)).toEqual(["examples"]);
  expect(await rolesAt(2, 15_000)).toEqual(["keys", "examples"]);
  // The age counts from the newest key, not from the first.
  expect(await rolesAt(3, 19_999)).toEqual(["examples"]);
  expect(await rolesAt(4, 14_999)).toEqual(["keys", "examples"]);
});

it("a data key lives for a day unless the file says otherwise", async () => {
  const lane = await openLane("");
  const first = await lane.process([record(0)], START, 0);
  const before = await lane.process([record(1)], first.state, 86_399_999);
  const after = await lane.process([record(2)], before.state, 86_400_000);
  expect([before, after].map(({ outputs }) => outputs.length)).toEqual([1, 2]);
});

it.each([
  ["", "010304", "aes-256-gcm"],
  [", cipher: aes-256-gcm", "010304", "aes-256-gcm"],
  [", cipher: chacha20-poly1305", "011818", "chacha20-poly1305"],
])("with %j the header names %s", async (more, algorithm, cipher) => {
  const lane = await openLane(more);
  const { outputs, state } = await lane.process([record(0)], START, 0);
  const value = asRecords(outputs, "examples")[0]?.value ?? new Uint8Array(0);
  expect(Buffer.from(value.subarray(5, 8)).toString("hex")).toBe(algorithm);
  expect(state.key?.dataKey.cipher).toBe(cipher);
});

it("a data key is wrapped by the service that holds the training zone's key, or nothing is written", async () => {
  const asked: string[] = [];
  const kms = (isThere: boolean): Kms => ({
    schemes: ["vault"],
    wrap: async (uri) => {
      asked.push(uri);
      if (!isThere) throw new SealstreamError("kms-unavailable", "It does not serve.");
      return new Uint8Array([1, 2, 3]);
    },
    unwrap: async () => null,
    publicKey: async () => null,
  });
  const there = await openLane("", kms(true));
  const { outputs } = await there.process([record(0)], START, 0);
  expect(outputs.map(({ role }) => role)).toEqual(["keys", "examples"]);
  expect(asked).toEqual(["vault:transit/keys/training"]);
  const away = await openLane("", kms(false));
  await expect(away.process([record(0)], START, 0)).rejects.toMatchObject({
    code: "kms-unavailable",
  });
});

it("seals on under a key that the next signer announced, once there is one", async () => {
  const keys = [1, 2].map((byte) => createSigningKey("owner-signing", Buffer.alloc(32, byte)));
  let at = 0;
  const signer = createLiveSigner("owner-signing", () => keys[at] ?? expect.fail());
  const lane = await openLane("", undefined, signer);
  const first = await lane.process([record(0)], START, 0);
  const same = await lane.process([record(1)], first.state, 0);
  at = 1;
  const next = await lane.process([record(2)], same.state, 0);
  const after = await lane.process([record(3)], next.state, 0);
  // What the first one announced falls with it when it is revoked: nothing more is sealed under that.
  expect([first, same, next, after].map(({ outputs }) => outputs.map(({ role }) => role))).toEqual([
    ["keys", "examples"],
    ["examples"],
    ["keys", "examples"],
    ["examples"],
  ]);
});
