/**
 * `sealstream export FILE --format safetensors|onnx --out PATH`: a model as a file for other programs.
 *
 * Whoever holds a key that models are sealed to may: the folder of train, aggregate or predict. The model comes through
 * its ledger entry, as for every reader. What is written is the network alone: no feature maps, no trainer tensors. It is
 * in clear from here on: the file gets mode 0600.
 */
import { existsSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { readModels } from "../client/models.ts";
import { SealstreamError } from "../errors.ts";
import { encodeNetworkOnnx } from "../network/onnx.ts";
import { type Checkpoint, decodeCheckpoint, encodeCheckpoint } from "../network/safetensors.ts";
import type { ReadModel } from "../privacy/model-reader.ts";
import { type CommandContext, EXIT, loadSpec, openKafka, openLogger } from "./context.ts";
import { openHolderKeys } from "./key-access.ts";
import { keysFolder, type Options } from "./options.ts";
import { openDirectory } from "./stages/world.ts";

/** Holders of a key that models are sealed to. */
const HOLDERS = ["train", "aggregate", "predict"] as const;
/** Between looks at a data key that a service unwraps. */
const KEY_WAIT_MS = 20;

export async function exportModel(
  context: CommandContext,
  file: string,
  options: Options,
): Promise<number> {
  const { format, out, version } = exportOptions(options);
  const spec = loadSpec(context, file);
  const root = keysFolder(file, options);
  const holder = HOLDERS.find((name) => existsSync(join(root, name)));
  if (holder === undefined) {
    throw new SealstreamError(
      "key-missing",
      `${root} holds no keys of train, aggregate or predict: only who can open models can export one.`,
    );
  }
  const keys = await openHolderKeys(context, join(root, holder), holder);
  const logger = openLogger(context, { command: "export" });
  const client = await openKafka(context, spec, logger, { role: holder });
  try {
    const directory = openDirectory(spec, keys, holder);
    const reader = await readModels({
      ...{ client, pipeline: spec.name, directory },
      ...(version === null ? {} : { modelVersion: version }),
    });
    let model = reader.newest();
    while (directory.isBusy()) {
      await sleep(KEY_WAIT_MS);
      model = reader.newest();
    }
    if (model === null || (version !== null && model.entry.modelVersion !== version)) {
      throw new SealstreamError(
        "checkpoint-invalid",
        "There is no such model that these keys open: topic models keeps the newest eight of a pipeline.",
      );
    }
    writeFileSync(out, exportBytes(model, format), { mode: 0o600, flag: "wx" });
    const { runId, modelVersion, epsilon } = model.entry;
    context.tell(
      `model ${modelVersion} of run ${runId.slice(0, 8)} (epsilon ${epsilon.toFixed(4)}) as ${format} in ${out}; the network alone, without what features.maps does before it`,
    );
    return EXIT.ok;
  } finally {
    await client.close();
  }
}

/** A model as a file of a format. */
export function exportBytes(
  { entry, checkpoint }: Pick<ReadModel, "entry" | "checkpoint">,
  format: "safetensors" | "onnx",
): Uint8Array {
  const { network, weights }: Checkpoint = decodeCheckpoint(checkpoint);
  const metadata = {
    pipeline: entry.pipeline,
    runId: entry.runId,
    modelVersion: String(entry.modelVersion),
    epsilon: String(entry.epsilon),
    delta: String(entry.delta),
  };
  return format === "onnx"
    ? encodeNetworkOnnx(network, weights, metadata)
    : encodeCheckpoint({ network, weights, metadata });
}

/** @throws SealstreamError `usage` */
function exportOptions({ format, out, modelVersion }: Options) {
  if (format !== "safetensors" && format !== "onnx") {
    throw new SealstreamError("usage", "--format must be safetensors or onnx.");
  }
  if (typeof out !== "string") throw new SealstreamError("usage", "--out names the file to write.");
  const path = resolve(out);
  if (existsSync(path)) {
    throw new SealstreamError("usage", `${path} exists: name a new file.`);
  }
  const version = modelVersion === undefined ? null : Number(modelVersion);
  if (version !== null && !(Number.isSafeInteger(version) && version >= 0)) {
    throw new SealstreamError("usage", "--model-version must be a whole number from 0.");
  }
  return { format, out: path, version } as const;
}
