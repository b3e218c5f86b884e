/** The wire form: its bytes exactly, both ways against node-seal's own, and everything that is refused. */
import { createHash } from "node:crypto";
import { expect, it } from "vitest";
import { writeCiphertext } from "../../pipeline/ckks/blob.ts";
import { createParameters } from "../../pipeline/ckks/parameters.ts";
import { createRing } from "../../pipeline/ckks/ring.ts";
import { openContext, saveUncompressed, withHandles } from "../../pipeline/ckks/seal.ts";
import {
  checkWireLimbs,
  readAnyLimbs,
  readWireHeader,
  sealFromWire,
  WIRE_HEADER_BYTES,
  wireCiphertextBytes,
  wireFromSeal,
  wireLimbOffset,
} from "../../pipeline/ckks/wire-ciphertext.ts";
import { keysFor, seeded } from "./fixtures.ts";

const PARAMETERS = createParameters(4096, [46, 46, 17], 24);
const SCALE = 2 ** 24;
const SHAPE = { polys: 2, limbs: 2, scale: SCALE };
const EXPECTED = { polys: [2], limbs: 2, scale: SCALE };
const ckks = await openContext(PARAMETERS);
const ring = createRing(ckks, { maxBytes: 2 ** 26 });
const N = 4096;

/** A SEAL blob of these residues. */
function sealBlob(words: BigUint64Array<ArrayBuffer>, shape = SHAPE): Uint8Array {
  return writeCiphertext(ckks, shape, new Uint32Array(words.buffer));
}

function residues(polys: number, limbs: number, seed = 1): BigUint64Array<ArrayBuffer> {
  const random = seeded(seed);
  return BigUint64Array.from({ length: polys * limbs * N }, (_, at) => {
    const prime = ring.primes[Math.floor(at / N) % limbs]!;
    return (BigInt(Math.floor(random() * 2 ** 53)) * 1009n) % prime;
  });
}

it("bytes, exactly", () => {
  const words = residues(2, 2).fill(0n, 0, N);
  words.set([1n, 2n, 0x3fff_0000_0001n], 0);
  words[2] = ring.primes[0]! - 1n;
  words[N - 1] = 0x2aaa_aaaa_aaaan;
  const wire = wireFromSeal(ckks, ring, sealBlob(words), SHAPE);
  const hex = Buffer.from(wire).toString("hex");
  expect(wire.length).toBe(94_224);
  // magic, version 1, 2^12, two polynomials, two limbs, scale 2^24
  expect(hex.slice(0, 32)).toBe("53434b54010c02020000000000007041");
  // 1, then 2 from bit 46 on, then q - 1 = 0x3ffffffcc000 from bit 92 on: bits, not bytes.
  const bits = [1n, 2n, words[2]!].reduce((sum, x, index) => sum | (x << BigInt(46 * index)), 0n);
  const first = Buffer.from(bits.toString(16).padStart(36, "0"), "hex").reverse().toString("hex");
  expect(hex.slice(32, 32 + 36)).toBe(first);
  // The limb's last byte ends with the last residue's highest bit.
  const end = WIRE_HEADER_BYTES + (N * 46) / 8;
  expect(hex.slice((end - 5) * 2, end * 2)).toBe("aaaaaaaaaa");
  expect(createHash("sha256").update(wire).digest("hex")).toBe(
    "cf938c0489ea558724da986da2b17a732b6f5ea9274548e521ca2e4e28586874",
  );
});

it("length follows from parameters, polynomials and limbs: what the digits cost a record", () => {
  expect((64 * wireCiphertextBytes(PARAMETERS, 2, 2)) / 2048).toBe(2944.5);
  expect((10 * wireCiphertextBytes(PARAMETERS, 3, 1)) / 2048).toBeLessThan(346);
  expect(wireLimbOffset(PARAMETERS, SHAPE, { poly: 1, limb: 1 })).toBe(16 + 3 * 23_552);
});

it.each([
  [2, 2],
  [2, 1],
  [3, 1],
  [3, 2],
])("there and back, %i polynomials of %i limbs", (polys, limbs) => {
  const shape = { polys, limbs, scale: 2 ** 36 };
  const blob = sealBlob(residues(polys, limbs, polys + limbs), shape);
  const wire = wireFromSeal(ckks, ring, blob, shape);
  expect(wire.length).toBe(wireCiphertextBytes(PARAMETERS, polys, limbs));
  const back = sealFromWire(ckks, ring, wire, { polys: [2, 3], limbs, scale: null });
  if (back.status !== "ok") throw new Error(back.fault);
  expect(Buffer.compare(back.blob, blob)).toBe(0);
  expect(back.shape).toEqual(shape);
});

it("what node-seal encrypted comes back as it was, and decrypts", async () => {
  const keys = await keysFor(PARAMETERS);
  const values = Float64Array.from({ length: N / 2 }, (_, slot) => Math.sin(slot));
  const decoded = withHandles((keep) => {
    const { seal, context } = ckks;
    const publicKey = keep(new seal.PublicKey());
    publicKey.loadFromArray(context, keys.publicKey);
    const secretKey = keep(new seal.SecretKey());
    secretKey.loadFromArray(context, keys.secretKey);
    const encoder = keep(new seal.CKKSEncoder(context));
    const plaintext = keep(new seal.Plaintext());
    const ciphertext = keep(new seal.Ciphertext());
    encoder.encode(values, SCALE, plaintext);
    keep(new seal.Encryptor(context, publicKey)).encrypt(plaintext, ciphertext);
    const blob = saveUncompressed(ckks, ciphertext);
    const wire = wireFromSeal(ckks, ring, blob, SHAPE);
    const back = sealFromWire(ckks, ring, wire, EXPECTED);
    if (back.status !== "ok") throw new Error(back.fault);
    expect(Buffer.compare(back.blob, blob)).toBe(0);
    ciphertext.loadFromArray(context, back.blob);
    keep(new seal.Decryptor(context, secretKey)).decrypt(ciphertext, plaintext);
    return encoder.decodeFloat64(plaintext) as Float64Array;
  });
  const worst = values.reduce((most, v, at) => Math.max(most, Math.abs(v - decoded[at]!)), 0);
  expect(worst).toBeLessThan(1e-3);
});

it("limbs that are left out are those that node-seal's switch to a smaller modulus leaves out", async () => {
  const keys = await keysFor(PARAMETERS);
  withHandles((keep) => {
    const { seal, context } = ckks;
    const publicKey = keep(new seal.PublicKey());
    publicKey.loadFromArray(context, keys.publicKey);
    const ciphertext = keep(new seal.Ciphertext());
    const switched = keep(new seal.Ciphertext());
    keep(new seal.Encryptor(context, publicKey)).encryptZero(ciphertext);
    keep(new seal.Evaluator(context)).cipherModSwitchToNext(ciphertext, switched);
    const shape = { polys: 2, limbs: 1, scale: SCALE };
    const blob = saveUncompressed(ckks, ciphertext);
    const wire = wireFromSeal(ckks, ring, blob, { ...shape, blobLimbs: 2 });
    expect(wire).toHaveLength(wireCiphertextBytes(PARAMETERS, 2, 1));
    const other = wireFromSeal(ckks, ring, saveUncompressed(ckks, switched), shape);
    expect(Buffer.compare(wire, other)).toBe(0);
    expect(() => wireFromSeal(ckks, ring, blob, shape)).toThrow();
    expect(() => wireFromSeal(ckks, ring, blob, { ...SHAPE, blobLimbs: 1 })).toThrow();
  });
});

it("limbs as the header says, of which there are some and no more than data primes, and all bytes", () => {
  const expected = { polys: [2], scale: SCALE };
  const read = (blob: Uint8Array) => {
    const header = readAnyLimbs(PARAMETERS, blob, expected);
    return header.status === "ok" ? header.shape.limbs : header.fault;
  };
  const wires = [1, 2].map((limbs) => {
    const shape = { ...SHAPE, limbs };
    return wireFromSeal(ckks, ring, sealBlob(residues(2, limbs), shape), shape);
  });
  expect(wires.map(read)).toEqual([1, 2]);
  for (const [at, wire] of wires.entries()) {
    const says = (limbs: number) => read(wire.slice().fill(limbs, 7, 8));
    expect([says(0), says(3), says(255), says(2 - at)]).toEqual([
      ...["shape", "shape", "shape", "length"],
    ]);
    expect(read(wire.subarray(0, wire.length - 1))).toBe("length");
  }
  expect([read(new Uint8Array(0)), read(new Uint8Array(7))]).toEqual(["length", "length"]);
});

it("refuses any other length, header, shape, scale", () => {
  const wire = wireFromSeal(ckks, ring, sealBlob(residues(2, 2)), SHAPE);
  const faultOf = (blob: Uint8Array, expected: Parameters<typeof sealFromWire>[3] = EXPECTED) => {
    const read = sealFromWire(ckks, ring, blob, expected);
    return read.status === "refused" ? read.fault : null;
  };
  expect(faultOf(wire)).toBeNull();
  for (const length of [0, 1, 15, 16, 17, wire.length - 1]) {
    expect(faultOf(wire.subarray(0, length))).toBe("length");
  }
  expect(faultOf(Uint8Array.from([...wire, 0]))).toBe("length");
  const changed = (at: number, ...bytes: number[]) => {
    const copy = wire.slice();
    copy.set(bytes, at);
    return copy;
  };
  for (let at = 0; at < 16; at += 1) expect(faultOf(changed(at, wire[at]! ^ 1))).not.toBeNull();
  expect(faultOf(changed(0, 0))).toBe("wire-header");
  expect(faultOf(changed(4, 2))).toBe("wire-header");
  for (const at of [5, 6, 7]) {
    for (const value of [0, 1, 3, 255]) expect(faultOf(changed(at, value))).toBe("shape");
  }
  const scaled = (scale: number) => {
    const copy = wire.slice();
    new DataView(copy.buffer).setFloat64(8, scale, true);
    return copy;
  };
  for (const scale of [Number.NaN, Infinity, 0, -SCALE, 2 ** 25, SCALE + 1]) {
    expect(faultOf(scaled(scale))).toBe("scale");
  }
  for (const scale of [Number.NaN, Infinity, -Infinity, 0, -SCALE, 1, 2 ** 60]) {
    expect(faultOf(scaled(scale), { ...EXPECTED, scale: null })).toBe("scale");
  }
  expect(faultOf(scaled(2 ** 30 + 0.5), { ...EXPECTED, scale: null })).toBeNull();
  // A view into a larger buffer is read where it begins.
  expect(faultOf(Uint8Array.from([9, ...wire, 9]).subarray(1, 1 + wire.length))).toBeNull();
  expect(readWireHeader(PARAMETERS, new Uint8Array(), EXPECTED).status).toBe("refused");
});

it("refuses a residue that is not below its prime, and polynomials without content", () => {
  const faultOf = (words: BigUint64Array<ArrayBuffer>, polys = 2) => {
    const shape = { ...SHAPE, polys };
    const wire = wireFromSeal(ckks, ring, sealBlob(words, shape), shape);
    const read = sealFromWire(ckks, ring, wire, { ...EXPECTED, polys: [2, 3] });
    const fault = read.status === "refused" ? read.fault : null;
    // The check that keeps nothing agrees.
    expect(checkWireLimbs(PARAMETERS, ring, wire, { shape, from: 0 })).toBe(fault);
    return fault;
  };
  expect(faultOf(residues(2, 2))).toBeNull();
  for (const at of [0, 1, N - 1, N, 2 * N, 4 * N - 1]) {
    const words = residues(2, 2);
    words[at] = ring.primes[Math.floor(at / N) % 2]!;
    expect(faultOf(words)).toBe("residue");
    words[at] -= 1n;
    expect(faultOf(words)).toBeNull();
  }
  for (const from of [2, 3]) {
    expect(faultOf(residues(2, 2).fill(0n, from * N, (from + 1) * N))).toBe("transparent");
  }
  expect(faultOf(residues(3, 2).fill(0n, 5 * N), 3)).toBe("transparent");
  // All zero but one residue is content.
  const one = residues(2, 2).fill(0n, 2 * N);
  one.set([1n], 2 * N);
  one.set([1n], 4 * N - 1);
  expect(faultOf(one)).toBeNull();
});

it("a blob of our own of another shape is a bug, not a wire ciphertext", () => {
  const blob = sealBlob(residues(2, 2));
  expect(() => wireFromSeal(ckks, ring, blob.subarray(1), SHAPE)).toThrow(
    expect.objectContaining({ code: "internal" }),
  );
});
