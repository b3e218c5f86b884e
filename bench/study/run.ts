/**
 * Runs a study: `npm run study -- NAME`.
 *
 * `audit [--quick] [--sabotage noise|clip]`: bench/study/audit.ts. `utility [--quick] [--mnist FOLDER]`: bench/study/utility.ts.
 */
import { parseArgs } from "node:util";
import { audit } from "./audit.ts";
import { utility } from "./utility.ts";

const { values, positionals } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    sabotage: { type: "string" },
    mnist: { type: "string" },
  },
  allowPositionals: true,
});
const { quick, sabotage } = values;
const [name] = positionals;
const isSabotage = sabotage === undefined || sabotage === "noise" || sabotage === "clip";

if (name === "utility") {
  process.exitCode = await utility({ quick, mnistFolder: values.mnist ?? null });
} else if (name === "audit" && isSabotage) {
  process.exitCode = await audit({ quick, sabotage: sabotage ?? null });
} else {
  console.error("say which study to run: npm run study -- utility | audit");
  process.exitCode = 2;
}
