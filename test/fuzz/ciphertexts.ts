/**
 * Mutated ciphertexts and keys: bits flipped, cut, extended, exchanged, inflated, made transparent or not a number.
 *
 * Two attackers. One can write to the topics and has no key: whatever he changes of a record, no bundle and no key comes
 * of it. The other signs as the owner or the consumer does: what the grammar can tell is refused by it, before any
 * parser. What it cannot tell (one possible residue for another) is exactly what signatures are for, and only the
 * first attacker tries it. Guarantees that a finding names target, mutation and number, so that it can be run again.
 */
import { randomBytes } from "node:crypto";
import { zstdCompressSync } from "node:zlib";
import { checkPublicKey } from "../../pipeline/ckks/blob.ts";
import { checkEvaluationKeys } from "../../pipeline/ckks/key-blob.ts";
import { createConsumerKeys } from "../../pipeline/ckks/keys.ts";
import { createWirePacker } from "../../pipeline/ckks/pack-wire.ts";
import { createParameters } from "../../pipeline/ckks/parameters.ts";
import { createEvaluatorPool, type PoolRequest } from "../../pipeline/ckks/pool.ts";
import { openContext } from "../../pipeline/ckks/seal.ts";
import { type BundleRecord, createBundle, readBundles } from "../../pipeline/crypto/bundle.ts";
import { createKeyDirectory } from "../../pipeline/crypto/directory.ts";
import { blobEntries, createZoneKeys, publicEntries } from "../../pipeline/crypto/key-ceremony.ts";
import { parseKeyFile } from "../../pipeline/crypto/key-file.ts";
import { createSigningKey } from "../../pipeline/crypto/key-handles.ts";
import { network, randomWeights, seeded } from "../ckks/fixtures.ts";
import { pinsOf } from "../crypto/fixtures.ts";

const PIPELINE = "fuzz";
const CONTEXT = `sealstream/packs/v1|${PIPELINE}|0`;
const PARAMETERS = createParameters(4096, [46, 46, 17], 24);
const OTHERS = createParameters(4096, [46, 45, 18], 24);
const FEATURES = 2;
/** Bytes of a wire ciphertext's header and of one of its limbs. */
const HEADER = 16;
const LIMB = 46 * 512;
const BOMB = zstdCompressSync(new Uint8Array(64 * 2 ** 20));

export const TARGETS = [
  "pack-record",
  "key-record",
  "signed-ciphertext",
  "signed-public-key",
  "signed-evaluation-keys",
] as const;
export type Target = (typeof TARGETS)[number];

export interface FuzzTally {
  readonly refused: Record<Target, number>;
  /** What was let through: target, mutation, number of the case. */
  readonly accepted: readonly string[];
  /** Resident memory grown from after the first cases to the end, bytes. */
  readonly grownBytes: number;
  /** Whether a good pack is evaluated after all of it. */
  readonly goesOn: boolean;
}

type Random = () => number;
interface Mutation {
  readonly name: string;
  apply(blob: Uint8Array, random: Random): Uint8Array;
}

const below = (random: Random, end: number): number => Math.floor(random() * end);

function copyWith(
  blob: Uint8Array,
  change: (copy: Uint8Array, view: DataView) => void,
): Uint8Array {
  const copy = blob.slice();
  change(copy, new DataView(copy.buffer));
  return copy;
}

/** Changes that any blob can have; each leaves another blob behind. */
const ANY: readonly Mutation[] = [
  {
    name: "bit",
    apply: (blob, random) =>
      copyWith(blob, (copy) => {
        const bit = below(random, copy.length * 8);
        copy[bit >> 3]! ^= 1 << (bit & 7);
      }),
  },
  ...lengths(),
  {
    name: "bytes",
    apply: (blob, random) =>
      copyWith(blob, (copy) => {
        const bytes = randomBytes(1 + below(random, 64));
        copy.set(bytes.subarray(0, copy.length), below(random, Math.max(1, copy.length - 64)));
      }),
  },
];

function lengths(): Mutation[] {
  return [
    { name: "cut", apply: (blob, random) => blob.subarray(0, below(random, blob.length)) },
    {
      name: "trailing",
      apply: (blob, random) => Buffer.concat([blob, randomBytes(1 + below(random, 4096))]),
    },
    { name: "bomb", apply: () => BOMB },
    { name: "empty", apply: () => new Uint8Array(0) },
    { name: "noise", apply: (blob) => randomBytes(blob.length) },
  ];
}

/** What a signer can do to a ciphertext that the grammar tells. */
const OF_CIPHERTEXT: readonly Mutation[] = [
  ...lengths(),
  {
    name: "header bit",
    apply: (blob, random) =>
      copyWith(blob, (copy) => {
        const bit = below(random, HEADER * 8);
        copy[bit >> 3]! ^= 1 << (bit & 7);
      }),
  },
  {
    name: "scale",
    apply: (blob, random) =>
      copyWith(blob, (_, view) => {
        const scales = [Number.NaN, Number.POSITIVE_INFINITY, 0, -(2 ** 24), 2 ** 25, 3];
        view.setFloat64(8, scales[below(random, scales.length)]!, true);
      }),
  },
  {
    name: "residue",
    apply: (blob, random) =>
      copyWith(blob, (copy) => {
        // 46 bytes of ones are eight residues above their prime.
        const at = HEADER + below(random, 4) * LIMB + 46 * below(random, 512);
        copy.fill(0xff, at, at + 46);
      }),
  },
  {
    name: "transparent",
    apply: (blob, random) =>
      copyWith(blob, (copy) => {
        const from = HEADER + (2 + below(random, 2)) * LIMB;
        copy.fill(0, from, from + LIMB);
      }),
  },
];

/** The same of keys in the library's layout; `headers`: bytes before the first residue. */
function ofKeys(headers: number, others: Uint8Array): readonly Mutation[] {
  return [
    ...lengths(),
    { name: "swapped parameters", apply: () => others },
    {
      name: "header bit",
      apply: (blob, random) =>
        copyWith(blob, (copy) => {
          const bit = below(random, headers * 8);
          copy[bit >> 3]! ^= 1 << (bit & 7);
        }),
    },
    {
      name: "residue",
      apply: (blob, random) =>
        copyWith(blob, (copy) => {
          const at = headers + 8 * below(random, 3 * 4096);
          copy.fill(0xff, at, at + 8);
        }),
    },
    {
      name: "zero limb",
      apply: (blob) => copyWith(blob, (c) => c.fill(0, headers + 4096 * 24, headers + 4096 * 56)),
    },
  ];
}

interface Bench {
  readonly pack: readonly BundleRecord[];
  readonly entries: readonly { readonly key: Uint8Array; readonly value: Uint8Array }[];
  readonly zones: ReturnType<typeof pinsOf>;
  readonly findSigner: Parameters<typeof readBundles>[1]["findSigner"];
  readonly request: PoolRequest;
  readonly others: Awaited<ReturnType<typeof createConsumerKeys>>;
}

async function makeBench(): Promise<Bench> {
  const { files, identities, signers } = createZoneKeys();
  const keys = await createConsumerKeys(PARAMETERS, { steps: [1, 5] });
  const others = await createConsumerKeys(OTHERS, { steps: [1, 5] });
  const common = { pipeline: PIPELINE, parameters: PARAMETERS.id, identity: signers.consumer! };
  const entries = [
    ...publicEntries({ pipeline: PIPELINE, files }),
    ...blobEntries({ ...common, purpose: "ckks-public", bytes: keys.publicKey }),
    ...blobEntries({ ...common, purpose: "ckks-evaluation", bytes: keys.evaluationKeys }),
  ];
  const zones = pinsOf(identities);
  const directory = createKeyDirectory({ pipeline: PIPELINE, zones });
  for (const { key, value } of entries) directory.apply(key, value);
  const packer = await createWirePacker(PARAMETERS);
  const matrix = new Float32Array(FEATURES * 3).fill(0.5);
  const given = { publicKey: keys.publicKey, rows: 3, features: FEATURES, matrix };
  const ciphertexts = await packer.pack({ ...given, how: { packing: "batch" } });
  const file = files.find(({ purpose }) => purpose === "owner-signing")!;
  const { material } = parseKeyFile(file.json, "owner-signing", "fuzz");
  const pack = createBundle({
    context: CONTEXT,
    bundleId: new Uint8Array(randomBytes(16)),
    parts: ciphertexts,
    fields: { sequence: 0, rows: 3, features: FEATURES },
    signer: createSigningKey("owner-signing", material),
    maxChunkBytes: 40_000,
  });
  const shape = network(FEATURES, 2);
  const model = { modelId: "m", network: shape, weights: randomWeights(shape, seeded(1)) };
  const how = { mode: "shared", precisionBits: 3, packing: "batch", form: "wire" } as const;
  const request = {
    parameters: PARAMETERS,
    keyId: "k",
    keys,
    ...model,
    ...how,
    records: 3,
    ciphertexts,
  };
  const findSigner = (kid: Uint8Array) => directory.findSigner(kid, ["owner-signing"]);
  return { pack, entries, zones, findSigner, request, others };
}

/** Whether a bundle comes of a pack of which one record was changed. */
function packComes({ pack, findSigner }: Bench, at: number, value: Uint8Array): boolean {
  const records = pack.map((record, offset) => ({
    ...record,
    offset,
    value: offset === at ? value : record.value,
  }));
  return (
    readBundles(records, { context: CONTEXT, findSigner, maxBundleBytes: 1e6 }).bundles.length > 0
  );
}

/** Whether both keys come of entries of which one was changed. */
function keysCome({ entries, zones }: Bench, at: number, value: Uint8Array): boolean {
  const directory = createKeyDirectory({ pipeline: PIPELINE, zones });
  for (const [index, entry] of entries.entries()) {
    directory.apply(entry.key, index === at ? value : entry.value);
  }
  return directory.blob("ckks-public") !== null && directory.blob("ckks-evaluation") !== null;
}

/** Runs that many cases, the targets in turn. */
export async function fuzzCiphertexts(options: {
  readonly seed: number;
  readonly cases: number;
  readonly onProgress?: (done: number) => void;
}): Promise<FuzzTally> {
  const random = seeded(options.seed);
  const bench = await makeBench();
  const ckks = await openContext(PARAMETERS);
  const pool = createEvaluatorPool({});
  const pick = <T>(items: readonly T[]): T => items[below(random, items.length)]!;
  const { keys, ciphertexts } = bench.request;
  const keyEntries = bench.entries.flatMap(({ value }, index) =>
    value.length > 600 ? [index] : [],
  );
  const publicMutations = ofKeys(113, bench.others.publicKey);
  // Magic, form and two steps; then the relinearization keys with their first key.
  const evaluationMutations = ofKeys(16 + 64 + 113, bench.others.evaluationKeys);
  const attempts: Record<Target, () => Promise<{ name: string; passes: boolean }>> = {
    "pack-record": async () => {
      const at = below(random, bench.pack.length);
      const { name, apply } = pick(ANY);
      const value = apply(bench.pack[at]!.value, random);
      return { name, passes: packComes(bench, at, value) && !same(value, bench.pack[at]!.value) };
    },
    "key-record": async () => {
      const at = pick(keyEntries);
      const { name, apply } = pick(ANY);
      const { value } = bench.entries[at]!;
      const changed = apply(value, random);
      return { name, passes: keysCome(bench, at, changed) && !same(changed, value) };
    },
    "signed-ciphertext": async () => {
      const part = below(random, FEATURES);
      const { name, apply } = pick(OF_CIPHERTEXT);
      const changed = ciphertexts.map((one, index) => (index === part ? apply(one, random) : one));
      const outcome = await pool.evaluate({ ...bench.request, ciphertexts: changed });
      return { name, passes: outcome.status !== "refused" };
    },
    "signed-public-key": async () => {
      const { name, apply } = pick(publicMutations);
      const check = checkPublicKey(ckks, apply(keys.publicKey, random));
      return { name, passes: check.status === "ok" };
    },
    "signed-evaluation-keys": async () => {
      const { name, apply } = pick(evaluationMutations);
      const check = checkEvaluationKeys(ckks, apply(keys.evaluationKeys, random));
      return { name, passes: check.status === "ok" };
    },
  };
  const refused = Object.fromEntries(TARGETS.map((target) => [target, 0])) as Record<
    Target,
    number
  >;
  const accepted: string[] = [];
  let firstBytes = 0;
  for (let index = 0; index < options.cases; index += 1) {
    const target = TARGETS[index % TARGETS.length]!;
    const { name, passes } = await attempts[target]();
    if (passes) accepted.push(`${target}, ${name}, case ${index} of seed ${options.seed}`);
    else refused[target] += 1;
    if (index === Math.min(500, options.cases >> 1)) firstBytes = process.memoryUsage.rss();
    options.onProgress?.(index + 1);
  }
  const grownBytes = process.memoryUsage.rss() - firstBytes;
  const goesOn = (await pool.evaluate(bench.request)).status === "ok";
  await pool.close();
  return { refused, accepted, grownBytes, goesOn };
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
