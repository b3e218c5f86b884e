/** Which keys a worker keeps: the ones used last, within a number and a size, each closed once when it gives way. */
import { expect, test } from "vitest";
import { createEngineCache, type PackEngine } from "../../pipeline/ckks/engine.ts";
import { DEFAULT_PARAMETERS } from "../../pipeline/ckks/parameters.ts";

function watched() {
  const made: string[] = [];
  const closed: string[] = [];
  const cache = createEngineCache((_, { publicKey }) => {
    const name = Buffer.from(publicKey).toString();
    made.push(name);
    const engine: PackEngine = {
      evaluate: () => ({ status: "refused", part: -1, fault: "count" }),
      close: () => void closed.push(name),
    };
    return engine;
  });
  const open = (name: string, mib = 1, withKeys = true) =>
    cache.open(
      name,
      DEFAULT_PARAMETERS,
      withKeys
        ? { publicKey: Buffer.from(name), evaluationKeys: new Uint8Array(mib * 2 ** 20) }
        : null,
    );
  return { made, closed, cache, open };
}

test("three are kept, the one used longest ago gives way", async () => {
  const { made, closed, cache, open } = watched();
  for (const name of ["a", "b", "c"]) await open(name);
  expect(await open("a", 1, false)).not.toBeNull();
  await open("d");
  expect(cache.ids()).toEqual(["c", "a", "d"]);
  expect(await open("b", 1, false)).toBeNull();
  await open("b");
  expect(made).toEqual(["a", "b", "c", "d", "b"]);
  expect(closed).toEqual(["b", "c"]);
});

test("large ones give way sooner, and one that is too large is kept alone", async () => {
  const { closed, cache, open } = watched();
  await open("a", 20);
  await open("b", 20);
  expect(cache.ids()).toEqual(["a", "b"]);
  await open("c", 20);
  expect(cache.ids()).toEqual(["b", "c"]);
  await open("d", 60);
  expect(cache.ids()).toEqual(["d"]);
  await open("e", 1);
  expect(cache.ids()).toEqual(["e"]);
  expect(closed).toEqual(["a", "b", "c", "d"]);
});

test("keys that turned out to be none are let go of", async () => {
  const { closed, cache, open } = watched();
  await open("a");
  await open("b");
  await cache.drop("a");
  await cache.drop("c");
  expect(cache.ids()).toEqual(["b"]);
  expect(closed).toEqual(["a"]);
});
