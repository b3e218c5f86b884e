/** Record ids sealed to the consumer: only its key opens them, only for their pack. */

import { randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { openRecordIds, sealRecordIds } from "../../pipeline/crypto/record-ids.ts";
import { createUnwrapKey } from "../../pipeline/crypto/wrap/key-wrap.ts";

describe("record ids", () => {
  const consumer = createUnwrapKey("consumer-unwrap", randomBytes(32));
  const other = createUnwrapKey("consumer-unwrap", randomBytes(32));
  const bundleId = new Uint8Array(16).fill(7);
  const ids = ["form-1", "форма-2", ""];
  const message = sealRecordIds({ pipeline: "p", bundleId, ids, recipient: consumer });

  it("come back as they were", () => {
    expect(openRecordIds({ pipeline: "p", bundleId, message, unwrapKey: consumer })).toEqual(ids);
  });

  it("are refused for another key, pipeline or pack, and when a byte is changed", () => {
    expect(openRecordIds({ pipeline: "p", bundleId, message, unwrapKey: other })).toBeNull();
    expect(openRecordIds({ pipeline: "q", bundleId, message, unwrapKey: consumer })).toBeNull();
    expect(
      openRecordIds({ pipeline: "p", bundleId: new Uint8Array(16), message, unwrapKey: consumer }),
    ).toBeNull();
    const changed = Uint8Array.from(message);
    changed[changed.length - 1] = (changed[changed.length - 1] ?? 0) ^ 1;
    expect(
      openRecordIds({ pipeline: "p", bundleId, message: changed, unwrapKey: consumer }),
    ).toBeNull();
  });
});
