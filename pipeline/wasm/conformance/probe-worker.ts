/**
 * The thread in which the conformance suite probes a plugin: started for one instance, may be killed at any moment.
 *
 * It makes the calls of the ABI as a host does, tries what a host relies on but rarely meets (alignments, memory that is
 * not there), and says how much memory the guest has. Judging is the suite's. Must not be imported.
 */
import { parentPort, workerData } from "node:worker_threads";
import type { PackedBatch, PluginResult } from "../columns.ts";
import { PluginFault } from "../fault.ts";
import {
  call,
  checkVersion,
  configure,
  type GuestExports,
  instantiate,
  pointer,
  runBatch,
} from "../guest.ts";
import type { ProbeReply, ProbeRequest, ProbeSetup, Wipe } from "./messages.ts";

// Because probe.ts is the only one who starts this file, and it hands over a ProbeSetup.
const setup = workerData as ProbeSetup;
const port = parentPort;

/** Parameters of the functions that the host calls. */
const PARAMETERS = {
  abi_version: 0,
  alloc: 2,
  configure: 2,
  reset: 0,
  transform: 1,
  last_error: 0,
} as const;
const ALIGNMENTS = [1, 2, 4, 8, 16, 64, 4096];
const PROBE_BYTES = 100;
/** More than any plugin's maximum. */
const TOO_MANY_BYTES = 0xf0000000;
const NOISE = 0xa5;

const WIPES: Readonly<Record<Wipe, (copy: Uint8Array) => void>> = {
  zeros: (copy) => copy.fill(0),
  noise: (copy) => copy.fill(NOISE),
  nothing: () => {},
};

function checkSignatures(guest: GuestExports): void {
  for (const [name, parameters] of Object.entries(PARAMETERS)) {
    // Because these are keys of the exports, and the module check has found functions there.
    const { length } = guest[name as keyof typeof PARAMETERS];
    if (length !== parameters) {
      const what = `${name} takes ${length} parameters, not ${parameters}`;
      throw new PluginFault("exports", `the plugin's function ${what}`);
    }
  }
}

/** Takes memory in every alignment, then more than there can be. */
function checkAlloc(guest: GuestExports): void {
  let before = 0;
  for (const align of ALIGNMENTS) {
    const at = pointer(call("alloc", () => guest.alloc(PROBE_BYTES, align)));
    const what = `alloc(${PROBE_BYTES}, ${align})`;
    if (at === 0) throw new PluginFault("alloc", `${what} answered 0 in a fresh instance`);
    if (at % align !== 0) throw new PluginFault("alloc", `${what} is not aligned`);
    if (at + PROBE_BYTES > guest.memory.buffer.byteLength) {
      throw new PluginFault("alloc", `${what} is outside the memory`);
    }
    if (at < before + PROBE_BYTES && before < at + PROBE_BYTES && before !== 0) {
      throw new PluginFault("alloc", `${what} overlaps what was handed out before it`);
    }
    before = at;
  }
  let tooMany: unknown;
  try {
    tooMany = guest.alloc(TOO_MANY_BYTES, 16);
  } catch (cause) {
    throw new PluginFault("alloc", "alloc traps when there is no memory left", { cause });
  }
  if (pointer(tooMany) !== 0) {
    throw new PluginFault("alloc", "alloc does not answer 0 when there is no memory left");
  }
}

function openGuest(): GuestExports {
  const guest = instantiate(setup.module);
  configure(guest, setup.config, WIPES[setup.wipe]);
  return guest;
}

function faultOf(error: unknown, guest: GuestExports | null): ProbeReply {
  // Anything else is named without its text, which may hold what the batch held.
  const fault =
    error instanceof PluginFault
      ? { kind: error.kind, message: error.message }
      : { kind: "died" as const, message: "the probe failed: report this as a bug" };
  return { type: "fault", fault, memoryBytes: guest?.memory.buffer.byteLength ?? 0 };
}

let guest: GuestExports | null = null;

function start(): ProbeReply {
  const first = instantiate(setup.module);
  checkSignatures(first);
  checkVersion(first);
  checkAlloc(first);
  guest = openGuest();
  return { type: "ready", memoryBytes: guest.memory.buffer.byteLength };
}

function runTimes(batch: PackedBatch, times: number): ProbeReply {
  guest ??= openGuest();
  let halfWay = 0;
  let result: PluginResult | null = null;
  for (let i = 0; i < times; i++) {
    result = runBatch(guest, batch, setup.limits);
    if (i < times / 2) halfWay = guest.memory.buffer.byteLength;
  }
  return {
    type: "answer",
    result: result ?? { status: new Uint8Array(), rowIndex: new Uint32Array(), columns: [] },
    memoryBytes: [halfWay, guest.memory.buffer.byteLength],
  };
}

function guarded(work: () => ProbeReply): void {
  try {
    port?.postMessage(work());
  } catch (error) {
    port?.postMessage(faultOf(error, guest));
    guest = null;
  }
}

port?.on("message", ({ batch, times }: ProbeRequest) => guarded(() => runTimes(batch, times)));
guarded(start);
