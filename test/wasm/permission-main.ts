/**
 * Desensitizes one record in a plugin worker and prints it; permission.test.ts runs this under Node's permission model.
 */
import { readFileSync } from "node:fs";
import { valueAt } from "../../pipeline/wasm/columns.ts";
import { createPluginHost } from "../../pipeline/wasm/host.ts";
import { wasmPath } from "../../pipeline/wasm/locate.ts";
import { createRawConfig } from "./raw-config.ts";

const host = await createPluginHost({
  module: readFileSync(wasmPath("desensitize")),
  config: createRawConfig(),
  limits: { memoryMaxBytes: 2 ** 24, deadlineMs: 10_000, maxOutputBytes: 2 ** 20 },
});
const { columns } = await host.transform([[Buffer.from('{"id":"a1","note":"private"}')]], 1);
await host.close();
console.log(Buffer.from(valueAt(columns[1]!, 0)!).toString());
