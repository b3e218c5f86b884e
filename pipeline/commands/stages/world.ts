/**
 * What every stage process needs around its stage: its own zone's keys and the views it follows.
 *
 * Views (`keys`, `ledger`, `models`) are tails of whole topics; a change wakes the stage's lanes. A view that cannot go
 * on ends the process, since a stage must not decide on a view with a hole.
 */
import { join } from "node:path";
import { type StageName, type TopicRole, topicName } from "../../../schemas/topics.ts";
import {
  type BlobPurpose,
  createKeyDirectory,
  type DirectoryOptions,
  type KeyDirectory,
} from "../../crypto/directory.ts";
import type { UnwrapPurpose } from "../../crypto/key-purposes.ts";
import type { KeyStore } from "../../crypto/key-store.ts";
import type { Kms } from "../../crypto/kms/kms.ts";
import type { StageMetrics } from "../../observe/metrics.ts";
import type { ProgressCounter } from "../../observe/progress.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import type { Stage, StreamRecord } from "../../stream/contract.ts";
import type { KafkaClient, Logger } from "../../stream/port.ts";
import { followTopic, type Tail } from "../../stream/tail.ts";
import { withCertifiedSigners } from "../certified-signer.ts";
import { type CommandContext, trustRoot } from "../context.ts";
import { kmsFor, openStageKeys } from "../key-access.ts";
import { createKeyRefresh } from "./key-refresh.ts";
import { createKeyReread } from "./key-reread.ts";

export interface StageWorld {
  readonly context: CommandContext;
  readonly spec: PipelineSpec;
  readonly client: KafkaClient;
  readonly logger: Logger;
  /** Its signers sign with certified keys. */
  readonly keys: KeyStore;
  /** Wraps data keys for recipients whose key is in a service. */
  readonly kms: Kms | undefined;
  readonly directory: KeyDirectory;
  readonly counter: ProgressCounter;
  readonly metrics: StageMetrics;
  /** Follows a "one" topic; resolves when what was there at the start has been applied. */
  follow(role: TopicRole, apply: (record: StreamRecord) => void): Promise<void>;
  /**
   * Milliseconds since the epoch: every entry that was in `keys` before that time can be used. To be asked after the key
   * lookup that it is about, since that may start an unwrapping.
   */
  readonly keysFreshAsOf: () => number;
  /** Says why the stage takes nothing in though nothing has failed, in a sentence of public facts; null: it works. */
  readonly halt: (reason: string | null) => void;
  /** Rejects when a view cannot go on. */
  readonly failed: Promise<never>;
  /** Set by the runner: called when a view has changed. */
  onChange: () => void;
  close(): Promise<void>;
}

/** How each stage's module hands over its stage. */
export type WireStage = (world: StageWorld) => Promise<Stage>;

export interface WorldOptions {
  readonly context: CommandContext;
  readonly spec: PipelineSpec;
  readonly client: KafkaClient;
  readonly logger: Logger;
  readonly stage: StageName;
  readonly keysRoot: string;
  readonly counter: ProgressCounter;
  readonly metrics: StageMetrics;
  readonly halt: (reason: string | null) => void;
}

/** Purposes of the private keys with which a stage opens data keys, and the public blobs it reads. */
const STAGE_VIEW: Readonly<
  Record<StageName, { unwrap: readonly UnwrapPurpose[]; blobs: readonly BlobPurpose[] }>
> = {
  desensitize: { unwrap: [], blobs: [] },
  // Which packing the consumer's keys serve is said at the head of the evaluation keys.
  encrypt: { unwrap: [], blobs: ["ckks-public", "ckks-evaluation"] },
  train: { unwrap: ["training-unwrap"], blobs: [] },
  // Encrypted models are under the consumer's public key.
  aggregate: { unwrap: ["contribution-unwrap"], blobs: ["ckks-public"] },
  predict: { unwrap: ["model-unwrap"], blobs: ["ckks-public", "ckks-evaluation"] },
};

/** Opens the key folder, then follows `keys` until it has caught up. */
export async function openWorld(options: WorldOptions): Promise<StageWorld> {
  const { spec, client, logger, stage } = options;
  const keys = await openStageKeys(options.context, join(options.keysRoot, stage), stage);
  const tails: Tail[] = [];
  const failure = Promise.withResolvers<never>();
  failure.promise.catch(() => undefined);
  const directory = openDirectory(spec, keys, stage, {
    onUnwrapped: () => world.onChange(),
    // Its patience has ended: whoever keeps this stage starts it again.
    onUnwrapFailed: (error) => failure.reject(error),
  });
  let tailFreshAsOf = (): number => Number.NEGATIVE_INFINITY;
  const reread = createKeyReread({
    ...{ client, pipeline: spec.name, directory },
    onChange: () => world.onChange(),
    onFailure: (error) => failure.reject(error),
  });
  const isBusy = (): boolean => directory.isBusy() || reread.isBusy();
  const keysFreshAsOf = freshnessOf({ isBusy }, () => tailFreshAsOf());
  const world: StageWorld = {
    ...options,
    keys: withCertifiedSigners(keys, directory),
    directory,
    failed: failure.promise,
    kms: kmsFor(options.context, stage),
    keysFreshAsOf,
    onChange: () => undefined,
    async follow(role, apply) {
      const tail = await followTopic({
        client,
        topic: topicName(spec.name, role),
        // Entries of `keys` prove themselves, and nobody's open transaction may hold them back.
        isolation: role === "keys" ? "uncommitted" : "committed",
        clock: options.context.clock,
        logger,
        apply,
        onChange: () => world.onChange(),
      });
      tails.push(tail);
      if (role === "keys") {
        tailFreshAsOf = tail.freshAsOf;
      }
      tail.done.catch((error: unknown) => failure.reject(error));
      await tail.caughtUp;
    },
    async close() {
      await Promise.all(tails.map((tail) => tail.stop()));
    },
  };
  const refresh = createKeyRefresh({
    keys,
    logger,
    signal: options.context.signal,
    onAdded: () => {
      directory.keysAdded();
      world.onChange();
    },
  });
  let isStarted = false;
  await world.follow("keys", (record) => {
    const applied = directory.apply(record.key, record.value);
    if (applied === "accepted") {
      refresh(record.key);
      if (isStarted) reread.onAccepted(record.key);
    }
    if (applied === "refused") {
      logger.warn({ stage, offset: record.offset }, "an entry of the keys topic was refused");
    }
  });
  await reread.now();
  isStarted = true;
  return world;
}

/**
 * How fresh a view of `keys` is, for who would give up a record for want of a data key. While a service still unwraps one
 * that is never: the key which was looked for may be that one, and what was known before says nothing about it.
 */
export function freshnessOf(
  directory: Pick<KeyDirectory, "isBusy">,
  tailFreshAsOf: () => number,
): () => number {
  return () => (directory.isBusy() ? Number.NEGATIVE_INFINITY : tailFreshAsOf());
}

/** An empty directory with this stage's own unwrapping keys. */
export function openDirectory(
  spec: PipelineSpec,
  keys: KeyStore,
  stage: StageName,
  events: Pick<DirectoryOptions, "onUnwrapped" | "onUnwrapFailed"> = {},
): KeyDirectory {
  const { unwrap, blobs } = STAGE_VIEW[stage];
  return createKeyDirectory({
    pipeline: spec.name,
    ...trustRoot(spec),
    unwrapKeys: () => unwrap.flatMap((purpose) => keys.unwrapAll(purpose)),
    blobPurposes: blobs,
    ...events,
  });
}
