/** Rotation, seen from a stage: which key signs, and whose signatures of old it believes. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { certifiedSigner, withCertifiedSigners } from "../../pipeline/commands/certified-signer.ts";
import { createChangelogGuard } from "../../pipeline/commands/changelog-guard.ts";
import { createReceiptGuard } from "../../pipeline/commands/dead-letters/receipts.ts";
import { createDataKey } from "../../pipeline/crypto/data-key.ts";
import { createKeyDirectory } from "../../pipeline/crypto/directory.ts";
import { createFreshKey, identitiesIn, publicEntries } from "../../pipeline/crypto/key-ceremony.ts";
import { signEntry } from "../../pipeline/crypto/key-entries.ts";
import { type KeyFile, parseKeyFile } from "../../pipeline/crypto/key-file.ts";
import { createSigningKey } from "../../pipeline/crypto/key-handles.ts";
import { openKeyStore, writeKeyFiles } from "../../pipeline/crypto/key-store.ts";
import { createWorld, PIPELINE } from "../crypto/fixtures.ts";

const world = createWorld();
const PURPOSE = "owner-signing";

let root = "";
beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "sealstream-signers-"));
  await writeKeyFiles(
    root,
    world.files.filter(({ holder }) => holder === "encrypt"),
  );
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** The store of encrypt, a directory, and a next key that is neither in the folder nor in `keys`. */
async function setup() {
  const keys = await openKeyStore({ folder: join(root, "encrypt"), holder: "encrypt" });
  const directory = createKeyDirectory({
    pipeline: PIPELINE,
    zones: world.zones,
    unwrapKeys: () => [world.unwrap("training-unwrap")],
  });
  const next = createFreshKey(PURPOSE, 2);
  const apply = (entries: readonly { key: Uint8Array; value: Uint8Array }[]) => {
    for (const { key, value } of entries) expect(directory.apply(key, value)).toBe("accepted");
  };
  return {
    keys,
    directory,
    next,
    publish: () => apply(world.entries),
    async install() {
      await writeKeyFiles(root, [next]);
      await keys.refresh();
    },
    certify: () =>
      apply(
        publicEntries({
          pipeline: PIPELINE,
          files: [next],
          identities: identitiesIn(world.files),
        }),
      ),
    revoke: (kid: Uint8Array) =>
      apply([
        signEntry({
          pipeline: PIPELINE,
          payload: { type: "revocation", generation: 1, zone: "owner", kid },
          signer: world.signing("owner-identity"),
        }),
      ]),
  };
}

function kidOf(file: KeyFile): Uint8Array {
  return createSigningKey(PURPOSE, parseKeyFile(file.json, PURPOSE, "").material).kid;
}

const first = world.signing(PURPOSE).kid;

describe("a stage's signer", () => {
  test("is the newest file while nothing is certified", async () => {
    const { keys, directory, install, next } = await setup();
    const signer = certifiedSigner(keys, directory, PURPOSE);
    expect(signer.kid).toEqual(first);
    await install();
    expect(signer.kid).toEqual(kidOf(next));
  });

  test("is no key that is not certified yet; what it signs meanwhile counts, also after the switch", async () => {
    const { keys, directory, publish, install, certify, next } = await setup();
    publish();
    await install();
    const signer = withCertifiedSigners(keys, directory).signing(PURPOSE);
    const announce = async () => {
      const { dataKey, entry } = await createDataKey({
        ...{ pipeline: PIPELINE, topic: "examples", lane: 0, signer },
        recipients: [world.recipient("training-unwrap")],
      });
      expect(directory.apply(entry.key, entry.value)).toBe("accepted");
      return dataKey.kid;
    };
    expect(signer.kid).toEqual(first);
    const before = await announce();
    certify();
    expect(signer.kid).toEqual(kidOf(next));
    const after = await announce();
    for (const kid of [before, after]) {
      expect(directory.findDataKey(kid, "examples")).not.toBeNull();
    }
  });

  test("goes back to an older key when the newest is revoked", async () => {
    const { keys, directory, publish, install, certify, revoke, next } = await setup();
    publish();
    await install();
    certify();
    const signer = certifiedSigner(keys, directory, PURPOSE);
    revoke(kidOf(next));
    expect(signer.kid).toEqual(first);
    expect(signer.publicKey).toEqual(world.signing(PURPOSE).publicKey);
  });
});

describe("a stage's own state", () => {
  const value = Uint8Array.of(1, 2, 3);

  test("opens after a rotation while the process runs, and after a start", async () => {
    const { keys, directory, publish, install, certify } = await setup();
    publish();
    const options = { pipeline: PIPELINE, stage: "encrypt", directory } as const;
    const guard = createChangelogGuard({
      ...options,
      keys: withCertifiedSigners(keys, directory),
    });
    const before = guard.protect(value, 0);
    await install();
    const between = guard.protect(value, 0);
    certify();
    const after = guard.protect(value, 0);
    expect(after).not.toEqual(before);
    for (const one of [guard, createChangelogGuard({ ...options, keys })]) {
      for (const message of [before, between, after]) expect(one.open(message, 0)).toEqual(value);
    }
  });

  test("opens also when its signer was revoked, but for no one else's signature", async () => {
    const { keys, directory, publish, revoke } = await setup();
    const options = { pipeline: PIPELINE, stage: "encrypt", directory } as const;
    const guard = createChangelogGuard({ ...options, keys });
    // `keys` not read at all, as with a directory that knows nobody.
    expect(guard.open(guard.protect(value, 0), 0)).toEqual(value);
    publish();
    const message = guard.protect(value, 0);
    revoke(first);
    expect(guard.open(message, 0)).toEqual(value);
    const stranger = createSigningKey(PURPOSE, new Uint8Array(32).fill(3));
    const forged = createChangelogGuard({
      ...options,
      keys: { signing: () => stranger, signingAll: () => [stranger] },
    }).protect(value, 0);
    expect(guard.open(forged, 0)).toBeNull();
  });
});

test("receipts are signed with a certified key, and believed from a revoked one of the own folder alone", async () => {
  const { keys, directory, publish, install, certify, revoke } = await setup();
  publish();
  await install();
  const guard = createReceiptGuard(directory, keys);
  const place = { pipeline: PIPELINE, stage: "encrypt", partition: 1 } as const;
  const receipt = guard.protect(Uint8Array.of(7), place);
  const reader = createReceiptGuard(directory, null);
  expect(reader.open(receipt, place)).toEqual(Uint8Array.of(7));
  certify();
  revoke(first);
  expect(guard.open(receipt, place)).toEqual(Uint8Array.of(7));
  expect(reader.open(receipt, place)).toBeNull();
});
