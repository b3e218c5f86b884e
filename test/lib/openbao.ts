/**
 * A real OpenBao server for tests: built once from the Go module proxy into build/openbao, pinned by version and by the
 * module's own go.sum; started in dev mode, in memory, on a free port.
 *
 * `node test/lib/openbao.ts` builds it (Go 1.24 or newer; 12 minutes of processor time, 5 GB of caches, 128 MB in the end).
 * OpenBao's own `replace` lines name folders, which "go install" refuses: so it is built from a module of ours that
 * requires it, with its api and sdk as they were published. Must not: be used outside tests.
 */
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** The commit that is tagged v2.4.0: tags of version 2 cannot be named, as the module's path has no /v2. */
const VERSION = "v0.0.0-20250828202315-f9407a27fbee";
const MODULE = "github.com/openbao/openbao";
const FOLDER = join(import.meta.dirname, "../../build/openbao");
export const BAO = join(FOLDER, `bao-${VERSION}`);
export const ROOT_TOKEN = "a-root-token-for-tests";

/** Why there is no server to test against; null when there is one. */
export function openbaoIsMissing(): string | null {
  return existsSync(BAO) ? null : `${BAO} is not built: node test/lib/openbao.ts`;
}

function build(): void {
  if (openbaoIsMissing() === null) return;
  const source = join(FOLDER, "source");
  rmSync(source, { recursive: true, force: true });
  mkdirSync(source, { recursive: true });
  const go = (...words: string[]) =>
    execFileSync("go", words, { cwd: source, encoding: "utf8", stdio: ["ignore", "pipe", 2] });
  const require = `require ${MODULE} ${VERSION}`;
  writeFileSync(
    join(source, "go.mod"),
    `module sealstream.test/openbao\n\ngo 1.24.6\n\n${require}\n`,
  );
  const { Dir } = JSON.parse(go("mod", "download", "-json", `${MODULE}@${VERSION}`));
  // The checksum database lacks some of what OpenBao needs, its own go.sum does not: and that is covered by the former.
  const sums = ["", ...readFileSync(join(Dir, "go.sum"), "utf8").split("\n")];
  const own = readFileSync(join(source, "go.sum"), { encoding: "utf8", flag: "a+" }).split("\n");
  writeFileSync(
    join(source, "go.sum"),
    `${[...new Set([...sums, ...own])].sort().join("\n").trim()}\n`,
  );
  go("build", "-mod=mod", "-trimpath", "-ldflags=-s -w", "-o", BAO, MODULE);
}

/** Starts a server with an engine at `transit/` and AppRole; resolves when it answers. */
export async function startOpenbao() {
  const home = mkdtempSync(join(tmpdir(), "sealstream-openbao-"));
  const port = await freePort();
  const address = `http://127.0.0.1:${port}`;
  const server = spawn(
    BAO,
    [
      ...["server", "-dev", "-dev-no-store-token", `-dev-root-token-id=${ROOT_TOKEN}`],
      `-dev-listen-address=127.0.0.1:${port}`,
    ],
    { env: { HOME: home, PATH: "/usr/bin:/bin" }, stdio: "ignore" },
  );
  const ask = async (method: string, path: string, body?: object) => {
    const response = await fetch(`${address}/v1/${path}`, {
      method,
      headers: { "x-vault-token": ROOT_TOKEN },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`OpenBao answers ${response.status} to ${path}`);
    // Because these are the answers of a server that the test itself started.
    return (text === "" ? {} : JSON.parse(text)) as { data?: Record<string, unknown> };
  };
  const stop = async () => {
    const ended = new Promise((resolve) => server.once("close", resolve));
    if (server.exitCode === null && server.kill()) await ended;
    rmSync(home, { recursive: true, force: true });
  };
  for (let tries = 0; ; tries += 1) {
    const isUp = await fetch(`${address}/v1/sys/health`).then(
      (response) => response.ok,
      () => false,
    );
    if (isUp) break;
    if (tries === 150 || server.exitCode !== null) {
      await stop();
      throw new Error("OpenBao does not start");
    }
    await sleep(200);
  }
  await ask("POST", "sys/mounts/transit", { type: "transit" });
  await ask("POST", "sys/auth/approle", { type: "approle" });
  return { address, ask, stop };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

if (import.meta.main) build();
