/** `sealstream keys list FILE`: every key that is published, who can open what, and what is lost with a key that is gone. */
import {
  type DataKeyRow,
  dataKeyRows,
  type KeyRow,
  keyRows,
  keysHere,
} from "../../crypto/key-ceremony-list.ts";
import { losses } from "../../crypto/key-ceremony-losses.ts";
import { type CommandContext, EXIT } from "../context.ts";
import type { Options } from "../options.ts";
import { withCeremony } from "./ceremony.ts";

export function list(context: CommandContext, file: string, options: Options): Promise<number> {
  return withCeremony(context, { file, options }, async ({ directory, files, root }) => {
    const listing = directory.list();
    const here = keysHere(files);
    const keys = keyRows(listing, here);
    const dataKeys = dataKeyRows(listing, here);
    const lost = losses(listing, here, file);
    if (options["json"] === true) {
      context.print(JSON.stringify({ keys, dataKeys, revoked: listing.revoked, lost }));
    } else {
      context.print(columns(["ZONE", "PURPOSE", "GENERATION", "STATE", "HERE", "KEY ID"]));
      for (const row of keys) context.print(keyLine(row));
      if (dataKeys.length > 0) context.print("");
      for (const row of dataKeys) context.print(dataKeyLine(row));
      for (const sentence of lost) context.print(`LOST  ${sentence}`);
    }
    context.tell(
      `${keys.length} published keys, ${files.length} key files in ${root}, ${lost.length === 0 ? "nothing is missing" : `${lost.length} losses`}`,
    );
    return EXIT.ok;
  });
}

const WIDTHS = [10, 24, 10, 9, 4];

function columns(cells: readonly string[]): string {
  return cells.map((cell, index) => cell.padEnd(WIDTHS[index] ?? 0)).join("  ");
}

function keyLine({ zone, purpose, grant, generation, state, here, kid }: KeyRow): string {
  const name = grant === null ? purpose : `${grant.topic}: ${grant.name}`;
  // An identity that the file pins has no generation of its own.
  const count = generation === 0 ? "pinned" : String(generation);
  return columns([zone, name, count, state, here ? "yes" : "no", kid]);
}

function dataKeyLine({ topic, lane, count, opens, nobody, here }: DataKeyRow): string {
  const who = Object.entries(opens).map(([name, some]) => `${name} ${some}`);
  const closed = nobody === 0 ? [] : [`nobody ${nobody}`];
  return `${topic} lane ${lane}: ${count} data keys; opened by ${[...who, ...closed].join(", ")}; here ${here}`;
}
