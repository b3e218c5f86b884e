/**
 * How `encrypt` packs: under the consumer's newest public key, in the packing that the plan finds cheaper for so many rows.
 *
 * The plan is that of the keys as they are published (`published-plan.ts`): slots are used only where their rotations
 * have keys. Must not hold on to a key that is no longer the newest: a rotation counts from the next pack on.
 */
import { assumedCircuit } from "../../ckks/assumed-circuit.ts";
import { featureBounds } from "../../ckks/feature-bounds.ts";
import { createWirePacker, type PackLayout, type WirePacker } from "../../ckks/pack-wire.ts";
import { type CkksParameters, slotCount } from "../../ckks/parameters.ts";
import { cheaperPacking } from "../../ckks/plan-carrier.ts";
import type { PredictPlan } from "../../ckks/predict-plan.ts";
import { slotLayout } from "../../ckks/slots/layout.ts";
import { networkFromSpec } from "../../network/from-spec.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import type { OwnerPacking, PackedRows } from "../../stages/encrypt/pack-sealer.ts";
import type { PublishedPlan } from "./published-plan.ts";

type SlotsLayout = Extract<PackLayout, { readonly packing: "slots" }>;

/** A function that says how packs are made under published keys; null: there are none. */
export function createOwnerPacking(
  spec: PipelineSpec,
): (published: PublishedPlan | null) => OwnerPacking | null {
  const packers = new Map<string, Promise<WirePacker>>();
  const packerOf = (parameters: CkksParameters): Promise<WirePacker> => {
    const known = packers.get(parameters.id) ?? createWirePacker(parameters);
    packers.set(parameters.id, known);
    return known;
  };
  let newest: { readonly plan: PredictPlan; readonly packing: OwnerPacking } | null = null;
  return (published) => {
    if (published === null) return null;
    const { publicKey, plan } = published;
    if (newest?.plan !== plan || newest.packing.consumerKeyId !== publicKey.id) {
      newest = { plan, packing: packingUnder(spec, published, packerOf) };
    }
    return newest.packing;
  };
}

function packingUnder(
  spec: PipelineSpec,
  { publicKey, plan }: PublishedPlan,
  packerOf: (parameters: CkksParameters) => Promise<WirePacker>,
): OwnerPacking {
  const { parameters } = plan;
  const bounds = featureBounds(spec.features.outputs.range);
  const slots = slotsOf(spec, plan);
  const { features } = slots ?? { features: 1 };
  const mostInSlots = slots === null ? 0 : slots.how.layout.recordsPerPack * features;
  // Primes that the plan does not read are not sent; whoever reads finds in the header how many there are.
  const limbs = plan.packings.batch?.inputLimbs;
  const batch: PackLayout = {
    ...{ packing: "batch", lowest: bounds.lowest },
    ...(limbs !== undefined && { limbs }),
  };
  const onlySlots = plan.packings.batch === null && slots !== null;
  return {
    consumerKeyId: publicKey.id,
    parametersId: parameters.id,
    packRecords: onlySlots ? mostInSlots : slotCount(parameters),
    async encrypt(rows, columns, matrix): Promise<PackedRows> {
      const fits = slots !== null && rows <= mostInSlots;
      const how: PackLayout = fits && cheaperPacking(rows, plan) === "slots" ? slots.how : batch;
      const packer = await packerOf(parameters);
      const scaled = matrix.map((value) => value / bounds.scale);
      const given = { publicKey: publicKey.bytes, rows, features: columns, matrix: scaled, how };
      const parts = await packer.pack(given);
      scaled.fill(0);
      const capacity =
        how.packing === "batch" ? slotCount(parameters) : parts.length * how.layout.recordsPerPack;
      return { parts, packing: how.packing, capacity };
    },
  };
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
