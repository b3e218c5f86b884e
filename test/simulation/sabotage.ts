/**
 * Guards that a test takes away, one at a time, to see that the simulation misses them.
 *
 * fence-keeps-epoch     InitProducerId settles what is open, but does not raise the epoch
 * read-before-fence     offset and changelog are read before the previous owner is fenced
 * located-once          the offset is not read again when the lane starts again
 * changelog-unchecked   the changelog's position is not compared with the group's
 * unfiltered            records of aborted transactions are handed in
 * commit-is-success     a commit whose outcome is unknown is taken for done
 * commit-is-retried     ... or its transaction is made again
 * ids-ignored           answers of an ownership that was discarded are accepted
 * output-outside        outputs are written outside the transaction
 * entries-outside       entries beside the state are written outside the transaction
 * entries-unread        they are not read when the lane starts again
 * entries-unchecked     they are not held against their sum in the state; so rare that regressions.test.ts alone knows it
 */
export const SABOTAGES = [
  "fence-keeps-epoch",
  "read-before-fence",
  "located-once",
  "changelog-unchecked",
  "unfiltered",
  "commit-is-success",
  "commit-is-retried",
  "ids-ignored",
  "output-outside",
  "entries-outside",
  "entries-unread",
] as const;
export type Sabotage = (typeof SABOTAGES)[number] | "entries-unchecked";
