/**
 * A process with one pass-through instance and the window of the real `desensitize`, for `bounds.test.ts` to start with
 * a small heap. Arguments: pipeline, partitions, brokers. Prints what is final and the most memory it ever had.
 */
import { passThrough, startInstance } from "../lib/lane-load.ts";

const [pipeline = "", partitions = "", brokers = ""] = process.argv.slice(2);
const instance = await startInstance({
  ...{ name: "bounded", brokers: brokers.split(","), pipeline },
  partitions: Number(partitions),
  sessionTimeoutMs: 10_000,
  stage: passThrough({ maxRecords: 4096, maxBytes: 4 << 20 }),
});
setInterval(() => {
  const records = instance.commits.reduce((sum, one) => sum + one.records, 0);
  // maxRSS is in kibibytes on every platform (libuv).
  const rssMiB = Math.round(process.resourceUsage().maxRSS / 1024);
  const failures = instance.failures.length;
  process.stdout.write(`${JSON.stringify({ records, rssMiB, failures })}\n`);
}, 100);
process.once("SIGTERM", () => {
  void instance.stop().finally(() => process.exit(0));
});
