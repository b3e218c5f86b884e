/** When `keys` is read again: a certificate has come for what had to give way, and for nothing else. */
import { expect, test } from "vitest";
import { createKeyReread } from "../../pipeline/commands/stages/key-reread.ts";
import type { KeyDirectory } from "../../pipeline/crypto/directory.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";

function world(missed: boolean[]) {
  let reads = 0;
  const told: string[] = [];
  const gate = Promise.withResolvers<void>();
  const client = {
    offsets: async () => {
      reads += 1;
      await gate.promise;
      return { earliest: 0, latest: 0 };
    },
  };
  const reread = createKeyReread({
    // Because an empty topic is read by its offsets alone.
    client: client as unknown as KafkaClient,
    pipeline: "digits",
    directory: { takeMissed: () => missed.shift() ?? false } as unknown as KeyDirectory,
    onChange: () => told.push("changed"),
    onFailure: () => told.push("failed"),
  });
  return { reread, told, gate, reads: () => reads };
}

test("a certificate makes it read again, once, and it is busy until then", async () => {
  const { reread, told, gate, reads } = world([true]);
  reread.onAccepted(Buffer.from("signer/owner-signing/00"));
  reread.onAccepted(Buffer.from("signer/owner-signing/01"));
  expect(reread.isBusy()).toBe(true);
  gate.resolve();
  await expect.poll(() => told).toEqual(["changed"]);
  expect({ busy: reread.isBusy(), reads: reads() }).toEqual({ busy: false, reads: 1 });
});

test("other entries do not, nor does anything when nothing was missed", async () => {
  const missed = [true];
  const { reread, reads } = world(missed);
  for (const name of ["data-key/00", "recipient/training-unwrap/00", "chunk/00"]) {
    reread.onAccepted(Buffer.from(name));
  }
  expect(missed).toEqual([true]);
  missed[0] = false;
  await reread.now();
  expect(reads()).toBe(0);
});

test("a topic that cannot be read is told", async () => {
  const { reread, told, gate } = world([true]);
  gate.reject(new Error("away"));
  reread.onAccepted(Buffer.from("identity/owner/00"));
  await expect.poll(() => told).toEqual(["failed"]);
  expect(reread.isBusy()).toBe(false);
});
