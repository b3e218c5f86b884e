/**
 * Configurations that are broken in a random place: the plugin refuses them or works, and never traps.
 *
 * Calls the guest without the host, which writes only configurations that are whole.
 */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { encodePluginConfig } from "../../../pipeline/stages/desensitize/plugin-config.ts";
import { encodePosition } from "../../../pipeline/stages/desensitize/positions.ts";
import { readRecordSchema } from "../../../pipeline/stages/desensitize/record-schema.ts";
import { packBatch } from "../../../pipeline/wasm/columns.ts";
import { createInstance } from "../../../pipeline/wasm/instance.ts";
import { wasmPath } from "../../../pipeline/wasm/locate.ts";
import { compilePlugin } from "../../../pipeline/wasm/module-check.ts";
import { BUILDS, KEYS, type Rules, specOf } from "./guest.ts";
import { createRandom, type Random } from "./random.ts";
import { schemaOf } from "./reference.ts";

const key = { env: "A" };
const ABOUT: Rules = {
  id: "id",
  schema: schemaOf({ id: {}, a: {}, o: {}, l: {} }, ["id"]),
  rules: [
    { field: "id", action: "pseudonymize", key, keyId: "k", form: { encoding: "hex", bits: 64 } },
    { field: "a", action: "mask", keepFirst: 1, keepLast: 0, with: "*" },
    { field: "o.r", action: "replace", with: "gone" },
    { field: "o.h", action: "hash" },
    { field: "o.w", action: "generalize", to: { width: 10 } },
    { field: "o.b", action: "generalize", to: { bounds: [0, 18] } },
    { field: "o.d", action: "generalize", to: { date: "year" } },
    { field: "o.p", action: "generalize", to: { prefix: 2 } },
    {
      field: "o.t",
      action: "generalize",
      to: {
        table: [
          ["a", "b"],
          ["c", "d"],
        ],
        unknown: "*",
      },
    },
    { field: "l[].i", action: "pick", from: ["Ada", "Bob"], key },
    { field: "l[].f", action: "fake", key },
    { field: "l[].n", action: "perturb", key, noise: "gaussian", scale: 1, within: 2, decimals: 1 },
    {
      field: "o.x",
      action: "redact",
      detectors: [{ name: "k", pattern: "k[0-9]+" }],
      replacement: { kind: "token", with: "[{type}]" },
    },
    {
      field: "l[].x",
      action: "redact",
      detectors: [{ name: "k", pattern: "k[0-9]+" }],
      replacement: { kind: "token", with: "[{type}]" },
    },
    { field: "l[].e", action: "fpe", key, alphabet: "0123456789", tweak: "t" },
  ],
};
const RECORD =
  '{"id":"x","a":"abc","o":{"r":1,"h":"h","w":41,"b":7,"d":"1984-02-29","p":"10115","t":"c","x":"a k12"},"l":[{"i":"v","f":"Ab1"},{"e":"123456","n":7}]}';

/** A copy with a word or a byte changed, or cut off. */
function broken(config: Uint8Array, random: Random): Uint8Array {
  const copy = Uint8Array.from(config);
  const view = new DataView(copy.buffer);
  for (let times = 1 + random.int(2); times > 0; times--) {
    if (random.chance(0.7)) {
      const at = random.int(copy.length >> 2) * 4;
      const near = view.getUint32(at, true) + random.int(5) - 2;
      const word = random.pick([0, 1, 2, 13, 64, 65, 0xffff, 0x7fffffff, 0xffffffff, near]);
      view.setUint32(at, word >>> 0, true);
    } else {
      copy[random.int(copy.length)] = random.int(256);
    }
  }
  return random.chance(0.1) ? copy.subarray(0, random.int(copy.length)) : copy;
}

test.each(BUILDS)("%s: a broken configuration is refused or works", (build) => {
  const random = createRandom();
  const whole = encodePluginConfig(
    specOf(ABOUT),
    readRecordSchema(ABOUT.schema),
    (env) => KEYS[env]!,
  );
  const module = compilePlugin(readFileSync(wasmPath(build)), 2 ** 24);
  const limits = { maxOutputBytes: 2 ** 24 };
  const seen = { worked: 0, refused: 0 };
  for (let round = 0; round < 1500; round++) {
    const config = round === 0 ? whole : broken(whole, random);
    const about = `seed ${random.seed}, round ${round}`;
    let instance: ReturnType<typeof createInstance>;
    try {
      instance = createInstance({ module, config, limits });
    } catch (error) {
      // The host says which number configure() answered; a trap would have another message.
      expect(String(error), about).toMatch(/refused its configuration \(code [1-5]\)/);
      seen.refused++;
      continue;
    }
    const column = [Buffer.from(RECORD), Buffer.from('{"id":"y","l":[null]}')];
    const positions = column.map((_, i) => encodePosition(0, i));
    try {
      const batch = packBatch([column, positions], 0, column.length);
      const { status } = instance.transform(batch);
      if (round === 0) expect([...status]).toEqual([0, 0]);
    } catch (error) {
      // Without the flag for positions the plugin wants one column only.
      expect(String(error), about).toMatch(/could not transform|answered 0|whole batch/);
    }
    seen.worked++;
  }
  expect(seen.refused, `seed ${random.seed}`).toBeGreaterThan(200);
  expect(seen.worked, `seed ${random.seed}`).toBeGreaterThan(50);
});
