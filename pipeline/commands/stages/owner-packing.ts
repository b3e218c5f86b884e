/**
 * How `encrypt` packs: under the consumer's newest public key, in the packing that the plan finds cheaper for so many rows.
 *
 * The plan is the pipeline file's; keys of other parameters than the plan's (made before the file was changed) are used as
 * they are, with batch packs, and keys that our kernels cannot hold with packs of the version before. Slots packs need
 * rotation keys, which keys of the plan's parameters have. Must not keep a key: a rotation counts from the next pack on.
 */
import { assumedCircuit } from "../../ckks/assumed-circuit.ts";
import { encryptPack } from "../../ckks/pack.ts";
import { createWirePacker, type PackLayout, type WirePacker } from "../../ckks/pack-wire.ts";
import {
  type CkksParameters,
  fitsKernels,
  parseParameters,
  slotCount,
} from "../../ckks/parameters.ts";
import { cheaperPacking } from "../../ckks/plan-carrier.ts";
import type { PredictPlan } from "../../ckks/predict-plan.ts";
import { slotLayout } from "../../ckks/slots/layout.ts";
import type { PublicBlob } from "../../crypto/blob-assembler.ts";
import { SealstreamError } from "../../errors.ts";
import { networkFromSpec } from "../../network/from-spec.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import type { OwnerPacking, PackedRows } from "../../stages/encrypt/pack-sealer.ts";

type SlotsLayout = Extract<PackLayout, { readonly packing: "slots" }>;

/** A function that says how packs are made under a public key; null: there is none. */
export function createOwnerPacking(
  spec: PipelineSpec,
  plan: PredictPlan,
): (publicKey: PublicBlob | null) => OwnerPacking | null {
  const packers = new Map<string, Promise<WirePacker>>();
  const packerOf = (parameters: CkksParameters): Promise<WirePacker> => {
    const known = packers.get(parameters.id) ?? createWirePacker(parameters);
    packers.set(parameters.id, known);
    return known;
  };
  const slots = slotsOf(spec, plan);
  return (blob) => {
    if (blob === null) return null;
    const parameters = parseParameters(blob.parameters);
    if (parameters === null) {
      throw new SealstreamError(
        "key-invalid",
        'The consumer\'s CKKS keys are of parameters that are none: run "sealstream keys rotate FILE ckks".',
      );
    }
    const named = { consumerKeyId: blob.id, parametersId: parameters.id };
    const publicKey = blob.bytes;
    if (!fitsKernels(parameters)) {
      return {
        ...named,
        packRecords: slotCount(parameters),
        encrypt: packOld(parameters, publicKey),
      };
    }
    const isPlanned = parameters.id === plan.parameters.id;
    const { features } = slots ?? { features: 1 };
    const mostInSlots = slots === null ? 0 : slots.how.layout.recordsPerPack * features;
    // What the plan does not read is not sent; where the keys are not the plan's, everything is.
    const limbs = isPlanned ? plan.packings.batch?.inputLimbs : undefined;
    const batch: PackLayout = { packing: "batch", ...(limbs !== undefined && { limbs }) };
    const onlySlots = isPlanned && plan.packings.batch === null && slots !== null;
    return {
      ...named,
      packRecords: onlySlots ? mostInSlots : slotCount(parameters),
      async encrypt(rows, columns, matrix): Promise<PackedRows> {
        const fits = isPlanned && slots !== null && rows <= mostInSlots;
        const how: PackLayout = fits && cheaperPacking(rows, plan) === "slots" ? slots.how : batch;
        const packer = await packerOf(parameters);
        const parts = await packer.pack({ publicKey, rows, features: columns, matrix, how });
        const capacity =
          how.packing === "batch"
            ? slotCount(parameters)
            : parts.length * how.layout.recordsPerPack;
        return { parts, packing: how.packing, capacity };
      },
    };
  };
}

/** Packs as the version before made them. */
function packOld(parameters: CkksParameters, publicKey: Uint8Array): OwnerPacking["encrypt"] {
  return async (rows, features, at) => ({
    parts: await encryptPack({ publicKey, parameters, rows, features, at }),
    packing: null,
    capacity: slotCount(parameters),
  });
}

/** The layout of slots packs, which depends on the network's shape alone; null: the plan has none. */
function slotsOf(
  spec: PipelineSpec,
  plan: PredictPlan,
): { readonly how: SlotsLayout; readonly features: number } | null {
  if (plan.packings.slots === null) return null;
  const network = networkFromSpec(spec.features, spec.train);
  const circuit = assumedCircuit(network);
  const outcome = slotLayout(circuit, plan.parameters);
  if (outcome.status === "refused") return null;
  const { layout } = outcome;
  const scaleBits = plan.packings.slots.inputScaleBits;
  return { how: { packing: "slots", layout, scaleBits }, features: network.inputs };
}
