/**
 * A process with one pass-through instance whose every connection goes through proxies, for `broker-faults.test.ts`.
 * Arguments: pipeline, partitions, session timeout, brokers, routes `from:to,...`. Prints `lanes a,b` and `commit N`.
 */

import { routeThroughProxies } from "../lib/broker-proxies.ts";
import { startInstance } from "../lib/lane-load.ts";

const [pipeline = "", partitions = "", session = "", brokers = "", routes = ""] =
  process.argv.slice(2);
routeThroughProxies(
  routes.split(",").map((route): [number, number] => {
    const [from = "", to = ""] = route.split(":");
    return [Number(from), Number(to)];
  }),
);
const instance = await startInstance({
  ...{ name: "proxied", brokers: brokers.split(","), pipeline },
  partitions: Number(partitions),
  sessionTimeoutMs: Number(session),
});
let told = "";
setInterval(() => {
  const count = instance.commits.reduce((sum, { records }) => sum + records, 0);
  const line = `${JSON.stringify({ lanes: instance.lanes(), count, failures: instance.failures.length })}\n`;
  if (line !== told) {
    told = line;
    process.stdout.write(line);
  }
}, 50);
process.once("SIGTERM", () => {
  void instance.stop().finally(() => process.exit(0));
});
