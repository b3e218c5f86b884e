/** Data keys of examples as the pipeline file wants them: how old one may become, and which cipher it seals with. */
import { randomBytes } from "node:crypto";
import { expect, it } from "vitest";
import { createRecipient } from "../../../pipeline/crypto/wrap/key-wrap.ts";
import { createEncryptStage, type EncryptOptions } from "../../../pipeline/stages/encrypt/stage.ts";
import { restoreState } from "../../../pipeline/stages/encrypt/state.ts";
import { edited } from "../../spec/fixtures.ts";
import { asRecords, makeZones, record, smallSpec } from "./fixtures.ts";

const zones = await makeZones("digits");
const START = restoreState(null);

/** A lane under the digits example with `more` behind its encrypt.examples. */
async function openLane(more: string, given: Partial<EncryptOptions> = {}) {
  const stage = createEncryptStage({
    spec: smallSpec((text) =>
      edited("rotateAfterRecords: 100000", `rotateAfterRecords: 100000${more}`, text),
    ),
    directory: zones.directory(),
    signer: zones.owner.signing("owner-signing"),
    splitSecret: zones.owner.secret("split"),
    packer: () => Promise.reject(new Error("nothing is packed here")),
    parametersId: "test",
    consumerKeyId: () => null,
    slotsPerPack: 4,
    random: randomBytes,
    ...given,
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

it("wraps the data key of examples for a recipient whose key is in a service", async () => {
  const uri = "vault:transit/keys/lab";
  const reader = createRecipient("reader", Buffer.from(uri), "kms");
  const directory = zones.directory();
  const asked: string[] = [];
  const kms = {
    schemes: ["vault"],
    wrap: async (at: string) => {
      asked.push(at);
      return Uint8Array.of(1);
    },
    unwrap: async () => null,
    publicKey: async () => null,
  };
  const lane = await openLane("", {
    kms,
    directory: {
      ...directory,
      recipientsFor: (topic, audience) => [
        ...(directory.recipientsFor(topic, audience) ?? []),
        reader,
      ],
    },
  });
  const { outputs } = await lane.process([record(0)], START, 0);
  expect(outputs.map(({ role }) => role)).toEqual(["keys", "examples"]);
  expect(asked).toEqual([uri]);
});
