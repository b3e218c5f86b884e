/**
 * Where aggregate's noise comes from: rows by name, made ahead, the same however often and wherever they are made.
 *
 * A row is keyed by run, step and the hash of that step's contributions (privacy/noise.ts), and what is added to a sum is
 * a public combination of the rows of its block (privacy/correlation/). So a request names all of them, from the ledger,
 * and the answer follows from the request alone: after a restart, a retried step or a dead thread the rows of the block
 * are made again and give the same integers. Rows may be asked for before they are needed (`prefetch`), while the
 * contributions behind them are still unsealed; what was guessed wrongly is thrown away and was never released.
 * The secret stays in this thread: a maker gets single rows' keys. Must not draw randomness, decide what is in an
 * update, or hand out noise for another list of contributions than the one that was asked for.
 */
import { isDeepStrictEqual } from "node:util";
import type { SecretKey } from "../../crypto/key-handles.ts";
import type { LedgerNoise } from "../../privacy/ledger-noise.ts";
import { noiseRowKey } from "../../privacy/noise.ts";
import type { NoiseJob, NoiseMaker } from "./noise-rows.ts";

/** Names the noise of one update. */
export interface NoiseRequest {
  readonly runId: string;
  readonly noise: LedgerNoise;
  readonly length: number;
  /** Of a row's values, in grid units. */
  readonly standardDeviation: number;
  /** Number of the update in its run, from 1. */
  readonly step: number;
  /** Hex, of the contributions of this update. */
  readonly contributionsHash: string;
  /** Hex, of the updates of its block before it, oldest first; empty where rows are independent. */
  readonly before: readonly string[];
}

export interface NoiseSource {
  /** Begins to make what will be asked for; a no-op when too much is waiting already. */
  prefetch(request: NoiseRequest): void;
  /** @returns integers, in grid units; not to be written */
  noise(request: NoiseRequest): Promise<Float64Array>;
  close(): Promise<void>;
}

/** Noise that is held: made ahead, or kept for a repeated step. An upper bound, for any length. */
const MAX_HELD_BYTES = 32 * 1024 * 1024;
const MAX_HELD = 16;
/** A thread that fails this often in a row is not asked again for this update. */
const ATTEMPTS = 2;

interface Held {
  readonly request: NoiseRequest;
  readonly values: Promise<Float64Array>;
  /** Whether an update was made with it: it stays for a repeated step while there is room. */
  used: boolean;
}

/**
 * @param options.secret the noise secret's handle, asked for each row
 * @param options.maker makes rows, such as a thread
 * @param options.fallback makes them when that fails
 */
export function createNoiseSource(options: {
  readonly secret: () => Pick<SecretKey, "hkdf">;
  readonly maker: NoiseMaker;
  readonly fallback: () => NoiseMaker;
}): NoiseSource {
  const { maker } = options;
  const held: Held[] = [];
  /** The last request that the maker was given: where its mixer stands once it has done it. */
  let at: NoiseRequest | null = null;

  /** The keys of the block's rows, or of the last one alone where the maker goes on. */
  function jobFor(request: NoiseRequest, continues: boolean): NoiseJob {
    const { noise, length, standardDeviation, runId } = request;
    const hashes = [...request.before, request.contributionsHash];
    const first = request.step - request.before.length;
    const rows = hashes.map((hash, index) => ({ hash, step: first + index }));
    return {
      ...{ noise, length, standardDeviation, fresh: !continues },
      rows: rows.slice(continues ? -1 : 0).map(({ hash, step }) => {
        const contributionsHash = Buffer.from(hash, "hex");
        return { step, key: noiseRowKey(options.secret(), { runId, step, contributionsHash }) };
      }),
    };
  }

  async function make(request: NoiseRequest, continues: boolean): Promise<Float64Array> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      try {
        return await maker.make(jobFor(request, continues && attempt === 0));
      } catch {
        // Because a thread may die of anything, and what it makes can be made again; a fault of the request itself
        // is thrown again below.
        at = null;
      }
    }
    return await options.fallback().make(jobFor(request, false));
  }

  function start(request: NoiseRequest): Held {
    const values = make(request, at !== null && follows(at, request));
    at = request;
    // Whoever waits for it is told; noise that nobody asks for may fail quietly.
    values.catch(() => undefined);
    const one = { request, values, used: false };
    held.push(one);
    return one;
  }

  /** Makes room for one more of that length. @returns false when there is none without giving up what was not used */
  function makeRoom({ length }: NoiseRequest): boolean {
    const most = Math.max(1, Math.min(MAX_HELD, Math.floor(MAX_HELD_BYTES / (length * 8))));
    for (let index = 0; index < held.length && held.length >= most; ) {
      if (held[index]?.used === true) held.splice(index, 1);
      else index += 1;
    }
    return held.length < most;
  }

  const find = (request: NoiseRequest): Held | undefined =>
    held.find((one) => isSame(one.request, request));

  return {
    prefetch(request) {
      // Out of order it would cost the rows of its whole block.
      const isNext = at === null || follows(at, request);
      if (isNext && find(request) === undefined && makeRoom(request)) start(request);
    },
    noise(request) {
      let one = find(request);
      if (one === undefined) {
        if (!makeRoom(request)) held.length = 0;
        one = start(request);
      }
      one.used = true;
      return one.values;
    },
    close: () => maker.close(),
  };
}

function follows(before: NoiseRequest, after: NoiseRequest): boolean {
  if (!(isSameRun(before, after) && after.step === before.step + 1)) return false;
  const isNewBlock = after.before.length === 0;
  return isNewBlock || isList(after.before, [...before.before, before.contributionsHash]);
}

function isSame(one: NoiseRequest, other: NoiseRequest): boolean {
  return (
    isSameRun(one, other) &&
    one.step === other.step &&
    one.contributionsHash === other.contributionsHash &&
    isList(one.before, other.before)
  );
}

function isSameRun(one: NoiseRequest, other: NoiseRequest): boolean {
  return (
    one.runId === other.runId &&
    one.length === other.length &&
    one.standardDeviation === other.standardDeviation &&
    isDeepStrictEqual(one.noise, other.noise)
  );
}

function isList(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((value, index) => value === other[index]);
}
