/**
 * Patience with a service that is slow, throttles or is away: the retry policy that every Kms shares.
 *
 * So many requests at a time and so many that wait; after a failure exponential back-off with full jitter, or what the
 * service asks for (Retry-After); in the end `kms-unavailable`, never anything in the clear. Clock, sleep and randomness
 * are handed in.
 * Must not: see what is sent or answered. Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
 */
import { SealstreamError } from "../../errors.ts";

/** What became of one attempt. */
export type Attempt<T> =
  | { readonly status: "done"; readonly value: T }
  /** Worth trying again. `reason` goes into a message: nothing that the service said. */
  | { readonly status: "again"; readonly reason: string; readonly afterMs: number | null };

export interface Patience {
  /** Requests at a time. */
  readonly inFlight: number;
  /** Requests that wait for their turn; one more is refused at once. */
  readonly waiting: number;
  /** Of one attempt. */
  readonly requestTimeoutMs: number;
  /** Of a request with all its attempts, from when it was asked for. */
  readonly totalMs: number;
  readonly firstWaitMs: number;
  readonly mostWaitMs: number;
}

export const PATIENCE: Patience = {
  inFlight: 8,
  waiting: 1024,
  requestTimeoutMs: 10_000,
  totalMs: 60_000,
  firstWaitMs: 100,
  mostWaitMs: 10_000,
};

/** The world as retries see it. */
export interface RetryWorld {
  /** Milliseconds, rising. */
  readonly clock: () => number;
  readonly sleep: (ms: number) => Promise<void>;
  /** From 0 to below 1. */
  readonly random: () => number;
}

/**
 * Runs attempts until one is done.
 * @param attempt must end when the signal aborts; what it throws is passed on
 * @throws `kms-unavailable` when the queue is full or the time is over
 */
export type Patient = <T>(attempt: (signal: AbortSignal) => Promise<Attempt<T>>) => Promise<T>;

/** @param options `service` names it in messages, e.g. by its address */
export function createPatient(options: {
  readonly service: string;
  readonly world: RetryWorld;
  readonly patience?: Partial<Patience> | undefined;
}): Patient {
  const { service, world } = options;
  const patience: Patience = { ...PATIENCE, ...options.patience };
  const turns = createTurns(patience);
  const unavailable = (why: string) =>
    new SealstreamError(
      "kms-unavailable",
      `${service} does not serve (${why}): see that it runs, is unsealed and can be reached from here, then start again.`,
    );
  return async (attempt) => {
    const endMs = world.clock() + patience.totalMs;
    const release = await turns.take();
    if (release === null) throw unavailable(`${patience.waiting} requests wait for it already`);
    try {
      let reason = "no turn in time";
      for (let attempts = 0; ; attempts += 1) {
        const leftMs = endMs - world.clock();
        if (leftMs <= 0) throw unavailable(tried(reason, attempts, patience.totalMs));
        const timeoutMs = Math.ceil(Math.min(patience.requestTimeoutMs, leftMs));
        const result = await attempt(AbortSignal.timeout(timeoutMs));
        if (result.status === "done") return result.value;
        reason = result.reason;
        const backOffMs = Math.min(patience.firstWaitMs * 2 ** attempts, patience.mostWaitMs);
        const waitMs = Math.max(world.random() * backOffMs, result.afterMs ?? 0);
        if (world.clock() + waitMs >= endMs) {
          throw unavailable(tried(reason, attempts + 1, patience.totalMs));
        }
        await world.sleep(waitMs);
      }
    } finally {
      release();
    }
  };
}

/** Milliseconds that a Retry-After header asks for: seconds or a date (RFC 9110 section 10.2.3); null for none. */
export function retryAfterMs(header: string | null, wallClockMs: number): number | null {
  if (header === null) return null;
  if (/^[0-9]{1,9}$/.test(header.trim())) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? null : Math.max(0, date - wallClockMs);
}

function tried(reason: string, attempts: number, totalMs: number): string {
  return `${reason}; tried ${attempts} ${attempts === 1 ? "time" : "times"} within ${totalMs / 1000} s`;
}

/** So many at a time, so many in the queue, in order. */
function createTurns({ inFlight, waiting }: Patience) {
  const queue: (() => void)[] = [];
  let taken = 0;
  const release = (): void => {
    const next = queue.shift();
    if (next === undefined) taken -= 1;
    else next();
  };
  return {
    /** How to give the turn back; null when the queue is full. */
    async take(): Promise<(() => void) | null> {
      if (taken < inFlight) {
        taken += 1;
        return release;
      }
      if (queue.length >= waiting) return null;
      await new Promise<void>((resolve) => queue.push(resolve));
      return release;
    },
  };
}
