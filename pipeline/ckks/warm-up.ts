/**
 * A pack of zeros for a network of small weights: what a worker evaluates before it is given a true one.
 *
 * First calls cost milliseconds (code is compiled as it is first used, memory grows), and a machine on which the kernels
 * do not work should be found before the stage owns a lane. Must not stand for a prediction: its result is thrown away.
 */
import type { Network } from "../network/definition.ts";
import type { PackRequest } from "./engine.ts";
import { encryptPack } from "./pack.ts";
import { createWirePacker } from "./pack-wire.ts";
import type { CiphertextForm, CkksParameters, ModelMode } from "./parameters.ts";

export interface WarmUpSample {
  readonly network: Network;
  readonly weights: PackRequest["weights"];
  readonly mode: ModelMode;
  readonly precisionBits: number;
  readonly form: CiphertextForm;
}

/** @throws key-invalid when the public key is not one of these parameters */
export async function syntheticPack(given: {
  readonly parameters: CkksParameters;
  readonly publicKey: Uint8Array;
  readonly sample: WarmUpSample;
}): Promise<PackRequest> {
  const { parameters, publicKey, sample } = given;
  // One ciphertext stands for every feature: encrypting is what the library is slow at.
  const zero = { publicKey, rows: 1, features: 1 };
  const [ciphertext] =
    sample.form === "library"
      ? await encryptPack({ parameters, ...zero, at: () => 0 })
      : await (await createWirePacker(parameters)).pack({
          ...{ ...zero, matrix: new Float32Array(1), how: { packing: "batch" } },
        });
  const ciphertexts = Array.from({ length: sample.network.inputs }, () => ciphertext ?? publicKey);
  return { ...sample, modelId: "warm-up", packing: "batch", records: 1, ciphertexts };
}
