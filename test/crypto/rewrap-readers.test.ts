/** Wrapping data keys anew: which of a reader's keys gets what, before and after compaction. */
import { generateKeyPairSync } from "node:crypto";
import { expect, it } from "vitest";
import { createDataKey } from "../../pipeline/crypto/data-key.ts";
import { createKeyDirectory } from "../../pipeline/crypto/directory.ts";
import { revocationEntry, rewrapTopic } from "../../pipeline/crypto/key-ceremony-renew.ts";
import { type KeyEntry, signEntry } from "../../pipeline/crypto/key-entries.ts";
import { createRecipient, createUnwrapKeyOf } from "../../pipeline/crypto/wrap/key-wrap.ts";
import { createWorld, PIPELINE } from "./fixtures.ts";

const world = createWorld();
const owner = world.signing("owner-identity");

function pair() {
  const { publicKey, privateKey } = generateKeyPairSync("x25519");
  const raw = new Uint8Array(publicKey.export({ format: "der", type: "spki" }).subarray(-32));
  return {
    raw,
    key: createUnwrapKeyOf("reader", privateKey),
    recipient: createRecipient("reader", raw),
  };
}
type Pair = ReturnType<typeof pair>;

const grant = ({ raw }: Pair, generation: number, name = "support"): KeyEntry =>
  signEntry({
    pipeline: PIPELINE,
    payload: {
      type: "grant",
      generation,
      topic: "records",
      name,
      algorithm: "x25519",
      publicKey: raw,
    },
    signer: owner,
  });

function sealedFor(...readers: readonly Pair[]) {
  return createDataKey({
    pipeline: PIPELINE,
    topic: "records",
    lane: 0,
    recipients: [world.recipient("owner-recovery"), ...readers.map(({ recipient }) => recipient)],
    signer: world.signing("owner-signing"),
  });
}

/** A `keys` topic; `rewrap` adds what rewrapTopic gives and says how many entries. */
function topicOf(...entries: readonly KeyEntry[]) {
  const log = [...world.entries, ...entries];
  const read = (...keys: readonly Pair[]) => {
    const directory = createKeyDirectory({
      pipeline: PIPELINE,
      zones: world.zones,
      unwrapKeys: () => keys.map(({ key }) => key),
      keepsAllDataKeys: true,
    });
    for (const { key, value } of log) directory.apply(key, value);
    return directory;
  };
  return {
    log,
    async rewrap(add: readonly string[] = []) {
      const unwrapKeys = [world.unwrap("owner-recovery")];
      const common = { pipeline: PIPELINE, topic: "records", identity: owner } as const;
      const made = await rewrapTopic({ ...common, directory: read(), unwrapKeys, add });
      log.push(...made.entries);
      return made.entries.length;
    },
    opens: (kid: Uint8Array, key: Pair) => read(key).findDataKey(kid, "records") !== null,
  };
}

it("gives a reader's later key nothing that it could not open, and leaves the earlier key what it had", async () => {
  const [first, second] = [pair(), pair()];
  const { dataKey, entry } = await sealedFor(first);
  const topic = topicOf(grant(first, 1), entry, grant(second, 2));
  expect(await topic.rewrap()).toBe(0);
  expect([first, second].map((one) => topic.opens(dataKey.kid, one))).toEqual([true, false]);
  expect(await topic.rewrap(["support"])).toBe(1);
  expect([first, second].map((one) => topic.opens(dataKey.kid, one))).toEqual([false, true]);
  expect(await topic.rewrap(["support"])).toBe(0);
});

it("leaves an earlier key its wrap when compaction took its grant away, until it is revoked", async () => {
  const [old, next, other] = [pair(), pair(), pair()];
  const { dataKey, entry } = await sealedFor(old);
  const topic = topicOf(entry, grant(next, 2), grant(other, 1, "audit"));
  expect(await topic.rewrap()).toBe(0);
  expect(await topic.rewrap(["audit"])).toBe(1);
  const opened = () => [old, next, other].map((one) => topic.opens(dataKey.kid, one));
  expect(opened()).toEqual([true, false, true]);
  const { kid } = old.recipient;
  topic.log.push(revocationEntry({ pipeline: PIPELINE, kid, zone: "owner", identity: owner }));
  expect(await topic.rewrap()).toBe(1);
  expect(opened()).toEqual([false, false, true]);
});

it("takes a reader away whose grant is revoked, and adds nobody whom the audience does not name", async () => {
  const [support, audit] = [pair(), pair()];
  const { dataKey, entry } = await createDataKey({
    pipeline: PIPELINE,
    topic: "records",
    lane: 0,
    recipients: [world.recipient("owner-recovery"), support.recipient],
    signer: world.signing("owner-signing"),
    audience: ["support"],
  });
  const topic = topicOf(grant(support, 1), grant(audit, 1, "audit"), entry);
  expect(await topic.rewrap(["audit", "support"])).toBe(0);
  const { kid } = support.recipient;
  topic.log.push(revocationEntry({ pipeline: PIPELINE, kid, zone: "owner", identity: owner }));
  expect(await topic.rewrap(["audit"])).toBe(1);
  expect([support, audit].map((one) => topic.opens(dataKey.kid, one))).toEqual([false, false]);
});
