/**
 * How fast short fields are hashed: HMAC-SHA-256 of 16 to 64 bytes under one key, as hexadecimal digits.
 *
 * The WASM kernel, four messages at a time and copying in and out included, against createHmac with a KeyObject,
 * @noble/hashes and Rust's sha2, which uses SHA-NI where the processor has it: `versions` says whether it has.
 * Outputs are compared before anything is timed.
 */
import { createHmac, createSecretKey, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { wasmPath } from "../pipeline/wasm/locate.ts";
import { openKernelPeer, RUST_HMAC_VERSION, RUST_SHA2_VERSION } from "./lib/kernel-peers.ts";
import { type BenchOptions, type BenchOutcome, rowOf } from "./lib/report.ts";
import { measure } from "./lib/rounds.ts";
import { createHmacKernel } from "./lib/wasm-hmac.ts";

const FIELDS = 10_000;
/** Text, so that it can be handed to any peer. */
const KEY_TEXT = randomBytes(16).toString("hex");
const NODE = "node createHmac, KeyObject";
const NOBLE = "@noble/hashes, cloned midstate";
const RUST = "Rust hmac + sha2";

/** Whether the processor has SHA instructions, as far as the system says. */
function shaInstructions(): string {
  try {
    return /\bsha_ni\b/.test(readFileSync("/proc/cpuinfo", "utf8")) ? "yes" : "no";
  } catch {
    // Because only Linux has that file.
    return "unknown";
  }
}

export async function bench({ quick }: BenchOptions): Promise<BenchOutcome> {
  const rounds = quick ? 7 : 21;
  const fields = Array.from({ length: FIELDS }, (_, i) => randomBytes(16 + (i % 49)));
  const secret = Buffer.from(KEY_TEXT);
  const kernel = createHmacKernel(readFileSync(wasmPath("desensitize")), secret);
  const key = createSecretKey(secret);
  const midstate = hmac.create(sha256, secret);
  const inNode = (field: Buffer) => createHmac("sha256", key).update(field).digest("hex");
  const inNoble = (field: Buffer) => bytesToHex(midstate.clone().update(field).digest());
  const rust = await openKernelPeer("rust", { items: fields, key: KEY_TEXT }, console.log);
  const first = kernel(fields);
  fields.forEach((field, i) => {
    const ours = Buffer.from(first.subarray(64 * i, 64 * i + 64)).toString();
    const theirs = typeof rust === "string" ? ours : rust.outputs[i]?.toString();
    if (ours !== inNode(field) || ours !== inNoble(field) || ours !== theirs)
      throw new Error(`digest ${i} is not the same`);
  });
  const speeds = await measure(
    [
      { name: "wasm", run: () => kernel(fields) },
      { name: NODE, run: () => fields.map(inNode) },
      { name: NOBLE, run: () => fields.map(inNoble) },
      ...(typeof rust === "string" ? [] : [{ name: RUST, turn: rust.turn }]),
    ],
    { unitsPerRun: FIELDS, rounds, turnMs: quick ? 120 : 400 },
  );
  if (typeof rust !== "string") rust.close();
  const ours = speeds.get("wasm")!;
  const peers = Object.fromEntries([...speeds].filter(([name]) => name !== "wasm"));
  return {
    packages: ["@noble/hashes", "assemblyscript"],
    versions: {
      "Rust hmac": RUST_HMAC_VERSION,
      "Rust sha2": RUST_SHA2_VERSION,
      "SHA instructions": shaInstructions(),
    },
    rows: [
      rowOf({ case: "HMAC-SHA-256 of 16..64 bytes, hex", unit: "fields/s", rounds }, ours, peers),
    ],
    missing: typeof rust === "string" ? [`${RUST}: ${rust}`] : [],
  };
}
