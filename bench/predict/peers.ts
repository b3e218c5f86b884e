/**
 * The peers of one row, opened: TenSEAL's two ways in its own process, and stock node-seal in this one.
 */
import type { KeyJob, NetworkJob, TensorJob } from "./cases.ts";
import { peerLayers } from "./cases.ts";
import type { Remote, Runner } from "./contest.ts";
import type { Model } from "./models.ts";
import { nodeSealBatch, nodeSealReplicated } from "./node-seal-peer.ts";
import { replicatedCircuit } from "./replicated.ts";
import type { PeerInput, PeerOpened, Tenseal } from "./tenseal-peer.ts";

export const SEALAPI = "TenSEAL sealapi";
export const TENSOR_NAME = "TenSEAL CKKSTensor";
export const NODE_SEAL = "node-seal";

/** A TenSEAL contender and the bytes of its packs. */
export interface TensealRemote extends Remote {
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** A model as peers take it. */
export function peerInput({ circuit, heldOut }: Model): PeerInput {
  return {
    layers: peerLayers(circuit),
    rows: heldOut.map(({ features }) => [...features]),
  };
}

/** What a job is sent as. */
function request(job: NetworkJob, input: PeerInput): object {
  if (job.kind !== "replicated") return { ...job, ...input };
  return { ...job, ...replicatedCircuit(job, input.layers, input.rows) };
}

async function remote(tenseal: Tenseal, id: string, job: object): Promise<TensealRemote> {
  const opened: PeerOpened = await tenseal.open(id, job);
  return {
    ...opened,
    turn: (turnMs) => tenseal.turn(id, turnMs),
    close: () => tenseal.drop(id),
  };
}

export function openRemote(
  tenseal: Tenseal,
  id: string,
  job: NetworkJob,
  model: Model,
): Promise<TensealRemote> {
  return remote(tenseal, id, request(job, peerInput(model)));
}

export function openRemoteKeys(tenseal: Tenseal, id: string, job: KeyJob): Promise<TensealRemote> {
  return remote(tenseal, id, job);
}

export function openNodeSeal(job: Exclude<NetworkJob, TensorJob>, model: Model): Promise<Runner> {
  const input = peerInput(model);
  return job.kind === "batch" ? nodeSealBatch(job, input) : nodeSealReplicated(job, input);
}
