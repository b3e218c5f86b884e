/**
 * "Did you mean": near misses are found, far ones are not guessed at.
 */
import { expect, it } from "vitest";
import { nearest } from "../../pipeline/spec/suggest.ts";

it.each([
  ["partitons", ["brokers", "partitions"], "partitions"],
  ["birthdate", ["birthDate", "name"], "birthDate"],
  ["lable", ["label", "table"], "label"],
  ["nmae", ["name"], "name"],
  ["x", ["partitions"], null],
  ["momentum", ["network", "backend"], null],
  ["", ["id"], null],
  ["i", ["id"], "id"],
  ["a".repeat(65), ["a".repeat(65)], null],
] as const)("%s of %j is %s", (name, known, wanted) => {
  expect(nearest(name, known)).toBe(wanted);
});
