/** Public blobs in the key directory: whole, of exact length and hash, or not there. */
import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { createBlobAssembler } from "../../pipeline/crypto/blob-assembler.ts";
import { sha256 } from "../../pipeline/crypto/chunks.ts";
import { createKeyDirectory } from "../../pipeline/crypto/directory.ts";
import { blobEntries } from "../../pipeline/crypto/key-ceremony.ts";
import { type KeyEntry, signEntry } from "../../pipeline/crypto/key-entries.ts";
import type { SigningKey } from "../../pipeline/crypto/key-handles.ts";
import type { KeyPayload } from "../../pipeline/crypto/key-payload.ts";
import { createWorld, freshSigner, hexOf, PIPELINE } from "./fixtures.ts";

const world = createWorld();

function sign(payload: KeyPayload, signer: SigningKey, pipeline = PIPELINE): KeyEntry {
  return signEntry({ pipeline, payload, signer });
}

const fresh = () =>
  createKeyDirectory({
    pipeline: PIPELINE,
    zones: world.zones,
    unwrapKeys: () => [world.unwrap("training-unwrap")],
  });

describe("blobs", () => {
  const bytes = new Uint8Array(randomBytes(2500));
  const blob = (options: { bytes?: Uint8Array; generation?: number; parameters?: string } = {}) =>
    blobEntries({
      pipeline: PIPELINE,
      purpose: "ckks-evaluation",
      bytes: options.bytes ?? bytes,
      parameters: options.parameters ?? "ckks-8192",
      identity: world.signers.consumer,
      generation: options.generation,
      maxChunkBytes: 1000,
    });
  const entries = blob();

  test("are chunks before the manifest, and whole when the last one is there", () => {
    expect(entries.length).toBe(4);
    const directory = fresh();
    for (const { key, value } of entries) {
      expect(directory.blob("ckks-evaluation")).toBeNull();
      expect(directory.apply(key, value)).toBe("accepted");
    }
    const found = directory.blob("ckks-evaluation");
    expect(found).toMatchObject({ parameters: "ckks-8192", bytes });
    expect(found?.id).toMatch(/^[0-9a-f]{64}$/);
    expect(directory.blob("ckks-public")).toBeNull();
  });

  test("come together in any order", () => {
    const directory = fresh();
    const [a, b, c, manifest] = entries;
    expect(directory.apply(manifest!.key, manifest!.value)).toBe("pending");
    for (const { key, value } of [c!, a!, b!]) directory.apply(key, value);
    expect(directory.blob("ckks-evaluation")?.bytes).toEqual(bytes);
  });

  test("a chunk is what its hash says; a blob has its exact length and hash", () => {
    const directory = fresh();
    const [a, b, c] = entries;
    expect(directory.apply(a!.key, b!.value)).toBe("refused");
    const manifest = (changed: Partial<Extract<KeyPayload, { type: "blob" }>>) =>
      sign(
        {
          type: "blob",
          generation: 1,
          purpose: "ckks-evaluation",
          parameters: "p",
          bytes: 2500,
          sha256: new Uint8Array(32),
          chunks: [a, b, c].map((entry) => chunkHash(entry!)),
          ...changed,
        },
        world.signers.consumer,
      );
    for (const changed of [{}, { bytes: 2499 }, { bytes: 2501 }]) {
      for (const { key, value } of [a!, b!, c!]) directory.apply(key, value);
      const { key, value } = manifest(changed);
      expect(directory.apply(key, value)).toBe("refused");
    }
    expect(directory.blob("ckks-evaluation")).toBeNull();
  });

  test("only the consumer's identity publishes them", () => {
    const directory = world.directory();
    const payload = {
      type: "blob",
      generation: 2,
      purpose: "ckks-evaluation",
      parameters: "p",
      bytes: 2500,
      sha256: new Uint8Array(32),
      chunks: [new Uint8Array(32)],
    } as const;
    for (const signer of [world.signers.owner, world.signing("result-signing"), freshSigner("x")]) {
      const forged = sign(payload, signer);
      expect(directory.apply(forged.key, forged.value)).toBe("refused");
    }
    expect(() =>
      blobEntries({
        pipeline: PIPELINE,
        purpose: "ckks-public",
        bytes,
        parameters: "p",
        identity: world.signers.owner,
      }),
    ).toThrow(expect.objectContaining({ code: "key-forbidden" }));
  });

  test("a new generation takes over when it is whole; an old one does not come back", () => {
    const directory = fresh();
    for (const { key, value } of entries) directory.apply(key, value);
    const next = new Uint8Array(randomBytes(1500));
    const [a, b, manifest] = blob({ bytes: next, generation: 2 });
    expect(directory.apply(manifest!.key, manifest!.value)).toBe("pending");
    directory.apply(a!.key, a!.value);
    expect(directory.blob("ckks-evaluation")?.bytes).toEqual(bytes);
    directory.apply(b!.key, b!.value);
    expect(directory.blob("ckks-evaluation")?.bytes).toEqual(next);
    for (const { key, value } of entries.slice(0, 3)) directory.apply(key, value);
    expect(directory.apply(entries[3]!.key, entries[3]!.value)).toBe("accepted");
    expect(directory.blob("ckks-evaluation")?.bytes).toEqual(next);
    // The same bytes again under a newer generation need no chunks.
    const again = blob({ bytes: next, generation: 3, parameters: "renamed" }).at(-1)!;
    expect(directory.apply(again.key, again.value)).toBe("accepted");
    expect(directory.blob("ckks-evaluation")).toMatchObject({ bytes: next, parameters: "renamed" });
  });

  test("a reader that wants none keeps none", () => {
    const directory = createKeyDirectory({
      pipeline: PIPELINE,
      zones: world.zones,
      blobPurposes: ["ckks-public"],
    });
    for (const { key, value } of entries) expect(directory.apply(key, value)).toBe("accepted");
    expect(directory.blob("ckks-evaluation")).toBeNull();
  });
});

function chunkHash(entry: KeyEntry): Uint8Array {
  const name = Buffer.from(entry.key).toString("latin1").slice("chunk/".length);
  return new Uint8Array(Buffer.from(name, "hex"));
}

describe("the assembler's memory", () => {
  const chunkOf = (fill: number) => {
    const value = new Uint8Array(100).fill(fill);
    return { name: hexOf(sha256(value)), value };
  };

  test("is bounded: the oldest unnamed chunk gives way, one that is waited for stays", () => {
    const assembler = createBlobAssembler({ purposes: ["ckks-public"], maxBytes: 300 });
    const whole = new Uint8Array([...chunkOf(1).value, ...chunkOf(2).value]);
    const manifest = {
      type: "blob",
      generation: 1,
      purpose: "ckks-public",
      parameters: "p",
      bytes: 200,
      sha256: sha256(whole),
      chunks: [sha256(chunkOf(1).value), sha256(chunkOf(2).value)],
    } as const;
    assembler.addChunk(chunkOf(1).name, chunkOf(1).value);
    expect(assembler.addManifest(manifest, "a")).toBe("pending");
    for (let fill = 10; fill < 60; fill++) {
      expect(assembler.addChunk(chunkOf(fill).name, chunkOf(fill).value)).toBe("accepted");
    }
    expect(assembler.addChunk(chunkOf(2).name, chunkOf(2).value)).toBe("accepted");
    expect(assembler.blob("ckks-public")?.bytes).toEqual(whole);
    // What is larger than everything that may be held is refused, and so is a manifest of it.
    const large = new Uint8Array(301);
    expect(assembler.addChunk(hexOf(sha256(large)), large)).toBe("refused");
    expect(assembler.addManifest({ ...manifest, generation: 2, bytes: 301 }, "a")).toBe("refused");
  });
});

describe("generations", () => {
  const manifestOf = (whole: Uint8Array, generation: number) =>
    ({
      type: "blob",
      generation,
      purpose: "ckks-public",
      parameters: "p",
      bytes: whole.length,
      sha256: sha256(whole),
      chunks: [sha256(whole)],
    }) as const;
  const [first, second] = [new Uint8Array(8).fill(1), new Uint8Array(8).fill(2)];

  function rotated() {
    const assembler = createBlobAssembler({ purposes: ["ckks-public"] });
    for (const [index, whole] of [first, second].entries()) {
      assembler.addChunk(hexOf(sha256(whole)), whole);
      expect(assembler.addManifest(manifestOf(whole, index + 1), "a")).toBe("accepted");
    }
    return assembler;
  }

  test("before the newest is found by its id and by its generation", () => {
    const assembler = rotated();
    expect(assembler.blob("ckks-public")?.bytes).toEqual(second);
    expect(assembler.byId("ckks-public", hexOf(sha256(first)))?.generation).toBe(1);
    expect(assembler.ofGeneration("ckks-public", 1)?.bytes).toEqual(first);
  });

  test("may be signed anew by another identity, and do not become the newest by it", () => {
    const assembler = rotated();
    expect(assembler.addManifest(manifestOf(first, 1), "b")).toBe("accepted");
    expect(assembler.ofGeneration("ckks-public", 1)?.by).toEqual(["a", "b"]);
    expect(assembler.blob("ckks-public")?.bytes).toEqual(second);
    // A generation that is neither kept nor newer is refused, and so is an older claim on a kept one.
    expect(assembler.addManifest(manifestOf(new Uint8Array(8).fill(3), 1), "b")).toBe("refused");
    expect(assembler.addManifest(manifestOf(second, 1), "b")).toBe("refused");
  });
});
