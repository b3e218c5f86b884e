/**
 * The rows of the benchmark, by what is compared.
 *
 * A section opens its contenders, has them checked and measured (contest.ts), frees them, and returns rows; what was seen
 * about precision on the way is kept for the rows about accuracy.
 */
import { type BenchRow, rowOf } from "../lib/report.ts";
import {
  BATCH_SMALL,
  BATCH_STANDARD,
  ENCRYPTED_MODEL,
  KEY_CASES,
  keyResult,
  LATENCIES,
  OURS,
  TENSOR,
} from "./cases.ts";
import { type Agreement, type Contest, type Remote, type Runner, runContest } from "./contest.ts";
import type { Model } from "./models.ts";
import { nodeSealKeys } from "./node-seal-peer.ts";
import { type OurRunner, type OurShape, openOurBatch, type SlotShape } from "./ours.ts";
import { ourKeys } from "./ours-keys.ts";
import { openOurSlots } from "./ours-slots.ts";
import {
  NODE_SEAL,
  openNodeSeal,
  openRemote,
  openRemoteKeys,
  SEALAPI,
  TENSOR_NAME,
  type TensealRemote,
} from "./peers.ts";
import type { Tenseal } from "./tenseal-peer.ts";

/** What a section needs. */
export interface Session {
  readonly tenseal: Tenseal | null;
  readonly rounds: number;
  readonly turnMs: number;
  /** Leaves out the peers that say least for the time they take. */
  readonly quick: boolean;
  readonly tell: (message: string) => void;
}

type Peers = Record<string, Runner | Remote>;

/** Largest error of a logit that still is the network, unless a case says more; what is measured is reported. */
const MOST_ERROR = 0.5;
/** Of a value in [0, 1] that was rotated or squared at scale 2^30. */
const MOST_KEY_ERROR = 0.02;

function networkContest(
  session: Session,
  about: Pick<Contest, "case" | "measure"> & { readonly model: Model; readonly mostError?: number },
  ours: Runner | null,
  peers: Peers,
) {
  const { rounds, turnMs, tell } = session;
  const { model, ...rest } = about;
  const options = { rounds, turnMs, tell, plain: model.logits };
  return runContest({ mostError: MOST_ERROR, ...rest, ...options, ours, peers });
}

/** Rows about exactness, of a model's held-out rows. */
function accuracyRows(
  name: string,
  agreements: ReadonlyMap<string, Agreement>,
  peerNames: readonly string[],
): BenchRow[] {
  const ours = agreements.get("ours");
  if (ours === undefined) return [];
  const peers = peerNames.flatMap((peer) => {
    const found = agreements.get(peer);
    return found === undefined ? [] : [[peer, found] as const];
  });
  const of = (figure: (one: Agreement) => number) =>
    Object.fromEntries(peers.map(([peer, one]) => [peer, figure(one)]));
  return [
    rowOf(
      { case: `${name}: same argmax as the plain network`, unit: "share", rounds: 1 },
      ours.share,
      of(({ share }) => share),
    ),
    rowOf(
      { case: `${name}: precision of a logit`, unit: "precisionBits", rounds: 1 },
      ours.precisionBits,
      of(({ precisionBits }) => precisionBits),
    ),
  ];
}

/** What the encrypted predictions are as good as. */
export function plainAccuracy({ name, accuracy, heldOut }: Model): BenchRow {
  const about = `${name}: plain network right on ${heldOut.length} rows it never saw`;
  return rowOf({ case: about, unit: "share", rounds: 1 }, accuracy, {});
}

/** Bytes of a record in a full pack. */
function byteRows(name: string, ours: OurRunner, peers: Record<string, TensealRemote>) {
  const row = (what: string, mine: number, theirs: (peer: TensealRemote) => number) =>
    rowOf(
      { case: `${name}: ${what}`, unit: "bytes/record", rounds: 1, better: "less" },
      mine / ours.units,
      Object.fromEntries(
        Object.entries(peers).map(([peer, one]) => [peer, theirs(one) / one.units]),
      ),
    );
  return [
    row("ciphertext in, under the public key", ours.bytesIn, ({ bytesIn }) => bytesIn),
    row("ciphertext out", ours.bytesOut, ({ bytesOut }) => bytesOut),
  ];
}

/** Full packs of the digits network, the model known to the consumer: ours beside everybody. */
export async function sharedPacks(session: Session, model: Model): Promise<BenchRow[]> {
  const { tenseal } = session;
  const name = `${model.name}, full packs`;
  const ours = await openOurBatch(model, OURS.shared);
  const remote: Record<string, TensealRemote> = {};
  const peers: Peers = {
    [`${NODE_SEAL}, same parameters`]: await openNodeSeal(BATCH_SMALL, model),
  };
  if (!session.quick)
    peers[`${NODE_SEAL}, standard parameters`] = await openNodeSeal(BATCH_STANDARD, model);
  if (tenseal !== null) {
    const open = (id: string, job: typeof BATCH_SMALL | typeof TENSOR) =>
      openRemote(tenseal, id, job, model);
    remote[`${SEALAPI}, same parameters`] = await open("same", BATCH_SMALL);
    remote[`${SEALAPI}, standard parameters`] = await open("standard", BATCH_STANDARD);
    remote[TENSOR_NAME] = await open("tensor", TENSOR);
  }
  Object.assign(peers, remote);
  const about = { case: name, measure: "records/s", model } as const;
  const { rows, agreements } = await networkContest(session, about, ours, peers);
  return [
    ...rows,
    ...byteRows(name, ours, remote),
    ...accuracyRows(name, agreements, Object.keys(peers)),
  ];
}

/** Full packs when the consumer must not learn the model, beside the peers' standard way, which hides less. */
export async function secretPacks(session: Session, model: Model): Promise<BenchRow[]> {
  const { tenseal } = session;
  const name = `${model.name}, full packs, secret model`;
  const ours = await openOurBatch(model, OURS.secret);
  const remote: Record<string, TensealRemote> = {};
  const peers: Peers = {};
  if (!session.quick)
    peers[`${NODE_SEAL}, standard parameters`] = await openNodeSeal(BATCH_STANDARD, model);
  if (tenseal !== null) {
    const label = `${SEALAPI}, standard parameters`;
    remote[label] = await openRemote(tenseal, "standard", BATCH_STANDARD, model);
  }
  Object.assign(peers, remote);
  const about = { case: name, measure: "records/s", model } as const;
  const { rows, agreements } = await networkContest(session, about, ours, peers);
  return [
    ...rows,
    ...byteRows(name, ours, remote),
    ...accuracyRows(name, agreements, Object.keys(peers)),
  ];
}

/** One ciphertext at a time, loading and saving included. */
export async function latencies(session: Session, model: Model): Promise<BenchRow[]> {
  const { tenseal } = session;
  const found: BenchRow[] = [];
  for (const { name: under, job, ours: shape, mostError } of LATENCIES) {
    const name = `${model.name}, one ciphertext, ${under}`;
    const ours = await openOurSlots(model, shape);
    const peers: Peers = { [NODE_SEAL]: await openNodeSeal(job, model) };
    if (tenseal !== null) peers[SEALAPI] = await openRemote(tenseal, "one", job, model);
    const about = { case: name, measure: "ms", model, mostError } as const;
    const { rows, agreements } = await networkContest(session, about, ours, peers);
    found.push(...rows, ...accuracyRows(name, agreements, Object.keys(peers)));
  }
  return found;
}

/** What it costs that the prediction zone sees no weights either: ours beside ours. */
export async function encryptedModel(session: Session, model: Model): Promise<BenchRow[]> {
  const name = `${model.name}, one ciphertext, encrypted weights`;
  const peers: Peers = { "ours, plain weights": await openOurSlots(model, ENCRYPTED_MODEL.plain) };
  const ours = await openOurSlots(model, ENCRYPTED_MODEL.encrypted);
  const about = { case: name, measure: "ms", model } as const;
  const { rows, agreements } = await networkContest(session, about, ours, peers);
  return [...rows, ...accuracyRows(name, agreements, Object.keys(peers))];
}

/** Operations with keys on ciphertexts in memory. */
export async function keyOperations(session: Session): Promise<BenchRow[]> {
  const { tenseal, rounds, turnMs, tell } = session;
  const found: BenchRow[] = [];
  for (const { name, hoisted, job } of KEY_CASES) {
    const peers: Peers = { [NODE_SEAL]: await nodeSealKeys(job) };
    if (tenseal !== null) peers[SEALAPI] = await openRemoteKeys(tenseal, "keys", job);
    const { rows } = await runContest({
      ...{ case: name, measure: "ms", rounds, turnMs, tell },
      ours: await ourKeys(job, hoisted),
      peers,
      plain: keyResult(job),
      mostError: MOST_KEY_ERROR,
    });
    found.push(...rows);
  }
  return found;
}

/** Networks without a peer in the same run, with marks from the literature told beside them. */
export async function otherNetwork(
  session: Session,
  model: Model,
  shapes: { readonly packs: OurShape; readonly one: SlotShape },
  marks: readonly string[] = [],
): Promise<BenchRow[]> {
  const packs = {
    name: `${model.name}, full packs`,
    ours: await openOurBatch(model, shapes.packs),
  };
  const many = await networkContest(
    session,
    { case: packs.name, measure: "records/s", model },
    packs.ours,
    {},
  );
  const one = {
    name: `${model.name}, one ciphertext`,
    ours: await openOurSlots(model, shapes.one),
  };
  const single = await networkContest(
    session,
    { case: one.name, measure: "ms", model },
    one.ours,
    {},
  );
  session.tell(`  ${one.ours.units} records in it`);
  for (const mark of marks) session.tell(`  mark, not measured here: ${mark}`);
  return [
    plainAccuracy(model),
    ...many.rows,
    ...byteRows(packs.name, packs.ours, {}),
    ...accuracyRows(packs.name, many.agreements, []),
    ...single.rows,
    ...accuracyRows(one.name, single.agreements, []),
  ];
}
