#!/usr/bin/env node
// Plain syntax that old Node versions can parse: the version check must run before anything newer is loaded.
import { existsSync } from "node:fs";

const major = Number(process.versions.node.split(".")[0]);
if (major < 24) {
  process.stderr.write(
    `sealstream needs Node.js 24 or newer; this is ${process.version}. In the repository, run it as: npm run sealstream -- <command>\n`,
  );
  process.exit(1);
}
// The repository runs its sources as they are; a package has only what was built from them.
const source = new URL("../pipeline/cli.ts", import.meta.url);
const built = new URL("../dist/pipeline/cli.js", import.meta.url);
const { main } = await import((existsSync(source) ? source : built).href);
process.exitCode = await main(process.argv);
// A connection that a library left open must not keep a command that is done.
setTimeout(() => process.exit(), 3_000).unref();
