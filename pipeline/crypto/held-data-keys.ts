/**
 * Data keys as the `keys` topic announces them: wrapped, and unwrapped when somebody first asks.
 *
 * Kept are those that somebody wants (wrapped for one of our keys, or all of them for a list), within a limit. A wrap for a key in a
 * KMS is unwrapped behind the scenes: until then `find` gives nothing and `isBusy` is true, so that nobody takes a key
 * that is still coming for one that is not there.
 * Must not: decide who may announce a data key (the directory has).
 */
import type { KeyObject } from "node:crypto";
import { type DataKey, openingDataKey } from "./data-key.ts";
import { dataKeyBinding } from "./key-entries.ts";
import { hex } from "./key-handles.ts";
import type { DataKeyPayload } from "./key-payload.ts";
import type { SealedTopic } from "./key-purposes.ts";
import type { UnwrapKey, WrappedKey } from "./wrap/types.ts";

/** A data key as it was announced. */
export interface AnnouncedDataKey {
  readonly payload: DataKeyPayload;
  /** Hex kid of the signer of its newest entry. */
  readonly by: string;
}

interface Held extends AnnouncedDataKey {
  /** Undefined until somebody asks. */
  handle: DataKey | null | undefined;
}

export interface HeldDataKeys {
  /** Takes an entry, copied; false when a newer one of this key, or another topic's, is held. */
  accept(payload: DataKeyPayload, by: string): boolean;
  /** A handle that opens. @param kid hex */
  find(kid: string, topic: SealedTopic): DataKey | null;
  /** Hex kid of the signer, or null for a key that is not held. */
  signerOf(kid: string): string | null;
  /** While a key that somebody asked for is being unwrapped elsewhere. */
  isBusy(): boolean;
  /** Forgets what could not be unwrapped, after new unwrapping keys have come. */
  retry(): void;
  all(): AnnouncedDataKey[];
}

/** Data keys addressed to us; some 400 bytes each. One is made per lane start or rotation. */
const MAX_DATA_KEYS = 65_536;

export function createHeldDataKeys(options: {
  readonly pipeline: string;
  readonly unwrapKeys: () => readonly UnwrapKey[];
  /** Whether a data key is worth keeping: one that is for others can never be opened here. */
  readonly wants: (payload: DataKeyPayload) => boolean;
}): HeldDataKeys {
  const { pipeline, unwrapKeys, wants } = options;
  const held = new Map<string, Held>();

  function pairs({ recipients }: DataKeyPayload) {
    return unwrapKeys().flatMap((unwrapKey) =>
      recipients
        .filter((one) => Buffer.compare(one.kid, unwrapKey.kid) === 0)
        .map((wrap) => ({ unwrapKey, wrap })),
    );
  }

  function unwrapped(payload: DataKeyPayload): KeyObject | null {
    const binding = dataKeyBinding({ pipeline, ...payload });
    for (const { unwrapKey, wrap } of pairs(payload)) {
      const key = unwrapKey.unwrap(wrap, binding);
      if (key !== null) return key;
    }
    return null;
  }

  return {
    accept(payload, by) {
      const { topic, lane, generation } = payload;
      const name = hex(payload.kid);
      const known = held.get(name)?.payload;
      if (known !== undefined) {
        const isSame = known.topic === topic && known.lane === lane;
        if (!isSame || known.cipher !== payload.cipher || known.generation > generation) {
          return false;
        }
        held.delete(name);
      }
      if (!wants(payload)) return true;
      const oldest = held.keys().next();
      if (held.size >= MAX_DATA_KEYS && oldest.done !== true) held.delete(oldest.value);
      held.set(name, { payload: copyOf(payload), by, handle: undefined });
      return true;
    },
    find(kid, topic) {
      const one = held.get(kid);
      if (one === undefined || one.payload.topic !== topic) return null;
      if (one.handle === undefined) {
        const key = unwrapped(one.payload);
        one.handle = key === null ? null : openingDataKey(key, { pipeline, ...one.payload });
      }
      return one.handle;
    },
    signerOf: (kid) => held.get(kid)?.by ?? null,
    isBusy: () => false,
    retry() {
      for (const one of held.values()) if (one.handle === null) one.handle = undefined;
    },
    all: () => [...held.values()].map(({ payload, by }) => ({ payload, by })),
  };
}

function copyOf(payload: DataKeyPayload): DataKeyPayload {
  return {
    ...payload,
    kid: new Uint8Array(payload.kid),
    recipients: payload.recipients.map((wrap): WrappedKey => {
      return {
        ...wrap,
        kid: new Uint8Array(wrap.kid),
        ephemeral: new Uint8Array(wrap.ephemeral),
        ciphertext: new Uint8Array(wrap.ciphertext),
      };
    }),
  };
}
