/**
 * Rows of sealing and opening within one process: our envelopes, the bare cipher of node:crypto, and the peers.
 *
 * Records of random bytes, one call a record. Ours has a thousand of them, each with an id, attributes and a sequence of
 * its own; the others seal one record over and over, bare node:crypto and Tink with as much associated data as an
 * envelope has. What each contender seals is opened and compared before it is timed.
 */
import { createCipheriv, createDecipheriv, createSecretKey, randomBytes } from "node:crypto";
import type { CipherName } from "../../pipeline/crypto/aead.ts";
import { createDataKey, type DataKey } from "../../pipeline/crypto/data-key.ts";
import {
  type EnvelopeContext,
  openEnvelope,
  sealEnvelope,
} from "../../pipeline/crypto/envelope.ts";
import { createSigningKey } from "../../pipeline/crypto/key-handles.ts";
import { createRecipient, createUnwrapKey } from "../../pipeline/crypto/wrap/key-wrap.ts";
import { type BenchRow, rowOf } from "../lib/report.ts";
import { type Contender, measure, type Timed } from "../lib/rounds.ts";
import { type Codec, codecTurn } from "./npm-contenders.ts";
import type { Tink } from "./tink-peer.ts";

const RECORDS = 1000;
const PIPELINE = "digits";
const OURS = "ours";
export const BARE = "bare node:crypto, same AAD length";
export const TINK = "Tink (C++ by way of Python)";
/** Of the Enc_structure of the envelopes below, give or take the digits of an id. */
const AAD_BYTES = 110;

export interface InProcessPlan {
  readonly rounds: number;
  readonly turnMs: number;
  readonly codecs: readonly Codec[];
  readonly tink: Tink | null;
}

interface Shape {
  readonly what: "seal" | "open";
  readonly size: number;
  readonly cipher: CipherName;
}

const SHAPES: readonly Shape[] = [256, 1024].flatMap((size) =>
  (["seal", "open"] as const).map((what) => ({ what, size, cipher: "aes-256-gcm" as const })),
);
const CHACHA: readonly Shape[] = (["seal", "open"] as const).map((what) => ({
  what,
  size: 256,
  cipher: "chacha20-poly1305",
}));

/** A data key of examples that can seal and open. */
export async function benchDataKey(
  pipeline: string,
  lane: number,
  cipher?: CipherName,
): Promise<DataKey> {
  const { publicKey } = createUnwrapKey("training-unwrap", randomBytes(32));
  const { dataKey } = await createDataKey({
    pipeline,
    topic: "examples",
    lane,
    recipients: [createRecipient("training-unwrap", publicKey)],
    signer: createSigningKey("owner-signing", randomBytes(32)),
    cipher,
  });
  return dataKey;
}

function contextOf(recordId: Uint8Array): EnvelopeContext {
  return {
    pipeline: PIPELINE,
    topic: "examples",
    lane: 0,
    recordId,
    schemaVersion: 1,
    attributes: { split: "train" },
  };
}

async function ours({ what, size, cipher }: Shape): Promise<Contender> {
  const dataKey = await benchDataKey(PIPELINE, 0, cipher);
  const records = Array.from({ length: RECORDS }, (_, i) => ({
    id: Buffer.from(`record-${i}`),
    plaintext: new Uint8Array(randomBytes(size)),
  }));
  let sequence = 0;
  const seal = () =>
    records.map(({ id, plaintext }) =>
      sealEnvelope({ dataKey, plaintext, context: contextOf(id), sequence: sequence++ }),
    );
  const sealed = seal();
  const open = () =>
    sealed.map((envelope, i) =>
      openEnvelope({ envelope, context: contextOf(records[i]!.id), findKey: () => dataKey }),
    );
  for (const [i, opened] of open().entries()) {
    if (opened.status !== "ok" || Buffer.compare(opened.plaintext, records[i]!.plaintext) !== 0) {
      throw new Error(`envelope ${i} did not give back what was sealed`);
    }
  }
  return { name: OURS, run: what === "seal" ? seal : open };
}

/** The cipher with nothing around it: the fastest that node:crypto can be. */
function bare({ what, size, cipher }: Shape): Contender {
  // Because the types have an overload per cipher and none for "one of these".
  const name = cipher as "aes-256-gcm";
  const key = createSecretKey(randomBytes(32));
  const [iv, aad, plaintext] = [randomBytes(12), randomBytes(AAD_BYTES), randomBytes(size)];
  const seal = () => {
    const one = createCipheriv(name, key, iv, { authTagLength: 16 });
    one.setAAD(aad);
    const ciphertext = one.update(plaintext);
    one.final();
    return { ciphertext, tag: one.getAuthTag() };
  };
  const { ciphertext, tag } = seal();
  const open = () => {
    const one = createDecipheriv(name, key, iv, { authTagLength: 16 });
    one.setAAD(aad);
    one.setAuthTag(tag);
    const opened = one.update(ciphertext);
    one.final();
    return opened;
  };
  if (!open().equals(plaintext)) throw new Error("the bare cipher did not give back its plaintext");
  const once = what === "seal" ? seal : open;
  return {
    name: BARE,
    run: () => {
      for (let i = 0; i < RECORDS; i++) once();
    },
  };
}

async function rowFor(shape: Shape, plan: InProcessPlan): Promise<BenchRow> {
  const { what, size, cipher } = shape;
  const { tink, codecs, rounds, turnMs } = plan;
  const others: (Contender | Timed)[] = [bare(shape)];
  if (cipher === "aes-256-gcm") {
    for (const codec of codecs) others.push(await codecTurn(codec, what, randomBytes(size)));
    if (tink !== null) {
      const job = { what, size, aadBytes: AAD_BYTES };
      others.push({ name: TINK, turn: (ms) => tink.turn(job, ms) });
    }
  }
  const speeds = await measure([await ours(shape), ...others], {
    unitsPerRun: RECORDS,
    rounds,
    turnMs,
  });
  const peers = Object.fromEntries([...speeds].filter(([name]) => name !== OURS));
  const about = { case: `${what} ${size} B, ${cipher}`, unit: "records/s", rounds };
  return rowOf(about, speeds.get(OURS)!, peers);
}

/** All rows, one after the other. */
export async function inProcessRows(plan: InProcessPlan): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  for (const shape of [...SHAPES, ...CHACHA]) rows.push(await rowFor(shape, plan));
  return rows;
}
