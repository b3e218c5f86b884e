/** The three cases in which kafkajs 2.2.4 shows aborted records, and the ordinary ones. */
import { describe, expect, it } from "vitest";
import { type FilterableRecord, readCommitted } from "../../pipeline/stream/read-committed.ts";

const data = (
  offset: number,
  producerId: string,
  key: Uint8Array | null = null,
): FilterableRecord => ({
  offset,
  key,
  isControl: false,
  inTransaction: producerId !== "none",
  producerId,
});
const marker = (
  offset: number,
  producerId: string,
  type: "abort" | "commit",
): FilterableRecord => ({
  offset,
  key: Uint8Array.of(0, 0, 0, type === "abort" ? 0 : 1),
  isControl: true,
  inTransaction: true,
  producerId,
});
const offsets = (records: readonly FilterableRecord[]): number[] =>
  records.map(({ offset }) => offset);

describe("readCommitted", () => {
  it("keeps everything when nothing was aborted", () => {
    expect(
      offsets(readCommitted([data(0, "none"), data(1, "1"), marker(2, "1", "commit")], [])),
    ).toEqual([0, 1]);
  });

  it("handles overlapping aborts that arrive out of order", () => {
    const records = [
      data(0, "1"),
      data(1, "2"),
      data(2, "1"),
      marker(3, "2", "abort"),
      marker(4, "1", "abort"),
      data(5, "2"),
    ];
    const aborted = [
      { producerId: "2", firstOffset: 1 },
      { producerId: "1", firstOffset: 0 },
    ];
    expect(offsets(readCommitted(records, aborted))).toEqual([5]);
  });

  it("handles several aborts of one producer in a fetch", () => {
    const records = [
      data(0, "1"),
      marker(1, "1", "abort"),
      data(2, "1"),
      marker(3, "1", "commit"),
      data(4, "1"),
      marker(5, "1", "abort"),
    ];
    const aborted = [
      { producerId: "1", firstOffset: 0 },
      { producerId: "1", firstOffset: 4 },
    ];
    expect(offsets(readCommitted(records, aborted))).toEqual([2]);
  });

  it("takes no user record for a control record, whatever its key", () => {
    const records = [
      data(0, "1", new Uint8Array(4)),
      data(1, "1"),
      marker(2, "1", "abort"),
      data(3, "1", new Uint8Array(4)),
    ];
    expect(offsets(readCommitted(records, [{ producerId: "1", firstOffset: 0 }]))).toEqual([3]);
  });

  it("keeps a plain record of a producer whose transaction is open beside it", () => {
    const plain = { ...data(1, "1"), inTransaction: false };
    expect(
      offsets(
        readCommitted(
          [data(0, "1"), plain, marker(2, "1", "abort")],
          [{ producerId: "1", firstOffset: 0 }],
        ),
      ),
    ).toEqual([1]);
  });
});
