/**
 * Reads `keys` again when it has to be: entries that waited for their signer's certificate had to give way, and the
 * certificate has come. In a compacted topic, or after an identity was replaced, it may stand far behind what it certifies.
 * Must not: end the stage; a view that cannot be read is told to whoever keeps the stage.
 */
import { readKeys } from "../../client/keys.ts";
import type { KeyDirectory } from "../../crypto/directory.ts";
import type { KafkaClient } from "../../stream/port.ts";

const CERTIFICATE = /^(?:signer|identity)\//;

export interface KeyReread {
  /** Whether the topic is being read again: until then a data key that is not there may still come. */
  isBusy(): boolean;
  /** Reads again if something was missed. */
  now(): Promise<void>;
  /** To be called with the record key of every accepted entry. */
  onAccepted(key: Uint8Array | null): void;
}

export function createKeyReread(options: {
  readonly client: KafkaClient;
  readonly pipeline: string;
  readonly directory: KeyDirectory;
  readonly onChange: () => void;
  readonly onFailure: (error: unknown) => void;
}): KeyReread {
  const { directory, onChange, onFailure } = options;
  let running = 0;
  const now = async (): Promise<void> => {
    if (!directory.takeMissed()) return;
    running += 1;
    try {
      await readKeys(options);
    } finally {
      running -= 1;
    }
    onChange();
  };
  return {
    isBusy: () => running > 0,
    now,
    onAccepted(key) {
      const name = key === null ? "" : Buffer.from(key).toString("latin1");
      if (CERTIFICATE.test(name)) now().catch(onFailure);
    },
  };
}
