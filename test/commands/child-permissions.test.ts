/** What the process of a stage may do: native code only where train asks for it. */
import { expect, test } from "vitest";
import { permissionArguments } from "../../pipeline/commands/child-permissions.ts";

test("native code is allowed by name alone", () => {
  expect(permissionArguments([], true)).toContain("--allow-addons");
  const others = permissionArguments([], false);
  expect(others).toContain("--permission");
  expect(others.filter((argument) => /addons|fs-write|child-process/.test(argument))).toEqual([]);
});
