/** The three ways to a broker, and that an embedded one never outlives its owner. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { getContainerRuntimeClient } from "testcontainers";
import { expect, inject, it } from "vitest";
import { openBroker } from "../../pipeline/stream/broker.ts";
import { startContainerBroker } from "../../pipeline/stream/broker-container.ts";
import { until } from "../lib/kafka.ts";

const base = { dataDir: null, port: null, onProgress: () => undefined };

function answers(address: string): Promise<boolean> {
  const [host = "", port = ""] = address.split(":");
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port) });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

it("uses the brokers that are named", async () => {
  const brokers = inject("brokers");
  const handle = await openBroker({ ...base, brokers, cacheDir: "unused", environment: {} });
  expect(handle).toMatchObject({ kind: "external", brokers });
});

it("names all three ways when there is none", async () => {
  const cacheDir = mkdtempSync(join(tmpdir(), "sealstream-broker-"));
  const engine = await hasContainerEngine();
  if (engine) {
    process.stdout.write(
      "SKIPPED: the message without any broker (there is a container engine here)\n",
    );
    return;
  }
  const failure = openBroker({ ...base, brokers: [], cacheDir, environment: { PATH: cacheDir } });
  await expect(failure).rejects.toMatchObject({ code: "broker-unavailable" });
  await expect(failure).rejects.toThrow(/KAFKA_BROKERS.*Java 17.*container engine/);
  rmSync(cacheDir, { recursive: true });
});

it("ends the embedded broker when its owner is killed", async () => {
  const script = `
    const { openBroker } = await import(${JSON.stringify(join(import.meta.dirname, "../../pipeline/stream/broker.ts"))});
    const { brokers } = await openBroker({ brokers: [], cacheDir: ${JSON.stringify(join(import.meta.dirname, "../../build/kafka"))},
      dataDir: null, port: null, environment: process.env, onProgress() {} });
    console.log(brokers[0]); setInterval(() => {}, 1000);`;
  const owner = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const address = await new Promise<string>((resolve) => {
    owner.stdout.once("data", (chunk: Buffer) => resolve(String(chunk).trim()));
  });
  expect(await answers(address)).toBe(true);
  owner.kill("SIGKILL");
  await until("the broker has ended", async () => !(await answers(address)), 20_000);
});

async function hasContainerEngine(): Promise<boolean> {
  return getContainerRuntimeClient().then(
    () => true,
    () => false,
  );
}

it("starts a container where there is an engine", async () => {
  if (!(await hasContainerEngine())) {
    process.stdout.write("SKIPPED: the container broker (no container engine here)\n");
    return;
  }
  const handle = await startContainerBroker({
    ...base,
    brokers: [],
    cacheDir: "unused",
    environment: {},
  });
  expect(await answers(handle.brokers[0] ?? "")).toBe(true);
  await handle.stop();
});
