/**
 * A rotated key is picked up without a restart: `keys` tells that a key of ours was published that is not in the ring.
 *
 * The file may come after the entry, so the sources are looked at again for some minutes. Only accepted entries come
 * here: who can write to the topic but has no zone's identity cannot make a stage look.
 * Must not: end the stage, which works on with the keys it has.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { isPurpose, PURPOSES } from "../../crypto/key-purposes.ts";
import type { KeyStore } from "../../crypto/key-store.ts";
import { isSealstreamError } from "../../errors.ts";
import type { Logger } from "../../stream/port.ts";

const ENTRY = /^(?:signer|recipient)\/([a-z0-9-]{1,64})\/([0-9a-f]{32})$/;
const FIRST_WAIT_MS = 1_000;
const MOST_WAIT_MS = 60_000;
/** About ten minutes: an old key of ours whose file was put away is looked for no longer. */
const TRIES = 15;

export interface KeyRefreshOptions {
  readonly keys: KeyStore;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  /** Called after keys were added. */
  readonly onAdded: () => void;
  /** Between tries. */
  readonly wait?: (ms: number, signal: AbortSignal) => Promise<unknown>;
}

/** A function to be called with the record key of every accepted entry of `keys`. */
export function createKeyRefresh(options: KeyRefreshOptions): (key: Uint8Array | null) => void {
  const wanted = new Set<string>();
  return (key) => {
    const name = key === null ? "" : Buffer.from(key).toString("latin1");
    const [, purpose = "", kid = ""] = ENTRY.exec(name) ?? [];
    if (wanted.has(name) || !isMissing(options.keys, purpose, kid)) return;
    wanted.add(name);
    void look(options, purpose, kid).finally(() => wanted.delete(name));
  };
}

async function look(options: KeyRefreshOptions, purpose: string, kid: string): Promise<void> {
  const { keys, logger, signal, onAdded, wait = defaultWait } = options;
  for (let tries = 0; tries < TRIES && !signal.aborted; tries += 1) {
    if (tries > 0) await wait(Math.min(FIRST_WAIT_MS * 2 ** (tries - 1), MOST_WAIT_MS), signal);
    if (signal.aborted) return;
    try {
      if (await keys.refresh()) {
        logger.info({ purpose }, "a new key was picked up");
        onAdded();
      }
    } catch (error) {
      const code = isSealstreamError(error) ? error.code : "internal";
      const why = isSealstreamError(error) ? error.message : "";
      logger.warn({ purpose, code, why }, "the keys could not be read again");
    }
    if (!isMissing(keys, purpose, kid)) return;
  }
}

/** True for a key that this holder should have and has not. */
function isMissing(keys: KeyStore, purpose: string, kid: string): boolean {
  if (!isPurpose(purpose) || PURPOSES[purpose].holder !== keys.holder) return false;
  return !keys.holds(purpose, Buffer.from(kid, "hex"));
}

function defaultWait(ms: number, signal: AbortSignal): Promise<unknown> {
  return sleep(ms, undefined, { signal, ref: false }).catch(() => undefined);
}
