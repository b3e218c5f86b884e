/** What a supervised stage process is started with: its arguments, its permissions, its environment. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { StageName } from "../../schemas/topics.ts";
import type { PipelineSpec } from "../spec/pipeline-spec.ts";
import { secretsOf } from "../stages/desensitize/config-keys.ts";
import { loadsAddon } from "../stages/train/optional-packages.ts";
import { MEMORY_ENVIRONMENT, memoryArguments } from "./child-memory.ts";
import { permissionArguments, programPath } from "./child-permissions.ts";
import type { CommandContext } from "./context.ts";
import { credentialFiles, credentialVariables } from "./kafka-credentials.ts";
import { keyAccessFiles, keyVariables } from "./key-access.ts";
import type { ChildPlan } from "./supervisor.ts";

/** Environment that every program needs to start, and that names no secret of ours. */
const COMMON_ENVIRONMENT = [
  "PATH",
  "HOME",
  "TZ",
  "LANG",
  "LC_ALL",
  "TMPDIR",
  "KAFKA_BROKERS",
  "SEALSTREAM_LOG",
  // Public: the certificates of a service inside a company.
  "NODE_EXTRA_CA_CERTS",
];

/** NVIDIA's libraries would round the factors of products to 11 bits, which clipping does not allow for. */
const FLOAT32_ENVIRONMENT = { NVIDIA_TF32_OVERRIDE: "0" };

/** Names of the environment variables that a pipeline file interpolates. */
function interpolated(file: string): string[] {
  return [...readFileSync(file, "utf8").matchAll(/\$\{([A-Za-z_][A-Za-z0-9_]*)/g)].flatMap(
    ([, name]) => name ?? [],
  );
}

/**
 * Only what this stage needs: secrets that rules name go to `desensitize` alone, Kafka's secret of a role to it, and so
 * do a stage's keys and what opens them.
 */
function childEnvironment(
  context: CommandContext,
  spec: PipelineSpec,
  stage: StageName,
): Record<string, string> {
  const secrets = stage === "desensitize" ? secretsOf(spec.desensitize) : [];
  const credentials = credentialVariables(context.environment, spec.kafka, stage);
  const keys = keyVariables(context.environment, stage);
  const names = [
    ...COMMON_ENVIRONMENT,
    ...interpolated(spec.file),
    ...secrets,
    ...credentials,
    ...keys,
  ];
  const taken = names.flatMap((name) => {
    const value = context.environment[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  const own = stage === "train" ? FLOAT32_ENVIRONMENT : {};
  return { ...MEMORY_ENVIRONMENT, ...Object.fromEntries(taken), ...own };
}

export interface ChildChoice {
  readonly name: StageName;
  readonly instance: number;
  readonly keysRoot: string;
  readonly metricsPort: number | null;
  readonly metricsHost: string;
  readonly files: readonly string[];
}

/** Plans one stage process. */
export function planChild(
  context: CommandContext,
  spec: PipelineSpec,
  choice: ChildChoice,
): ChildPlan {
  const { name, instance, keysRoot, metricsPort } = choice;
  return {
    stage: name,
    instance,
    command: process.execPath,
    arguments: [
      ...permissionArguments(
        [
          ...choice.files,
          // Aggregate alone begins runs.
          ...(name === "aggregate" ? [spec.train.warmStart?.file ?? []].flat() : []),
          ...credentialFiles(spec.kafka, name),
          ...keyAccessFiles(context.environment, name),
          join(keysRoot, name),
        ],
        // Only where the file asks for such a backend, or one is installed for `auto` to try.
        name === "train" && loadsAddon(spec.train.backend),
      ),
      ...memoryArguments(name, spec.kafka.partitions),
      programPath(),
      ...["run", spec.file, "--stage", name, "--in-process", "--json", "--supervised"],
      ...["--instance", String(instance), "--keys", keysRoot],
      ...(metricsPort === null
        ? []
        : ["--metrics-port", String(metricsPort), "--metrics-host", choice.metricsHost]),
    ],
    environment: childEnvironment(context, spec, name),
  };
}
