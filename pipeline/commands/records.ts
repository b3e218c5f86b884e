/** `sealstream records FILE --key FILE.pem`: what a downstream service can read of the records; values on standard output only. */
import { openRecords } from "../client/records.ts";
import {
  type CommandContext,
  EXIT,
  loadSpec,
  openKafka,
  openLogger,
  trustRoot,
} from "./context.ts";
import { escapeUnsafe } from "./dead-letters/text.ts";
import type { Options } from "./options.ts";
import { readReaderKey } from "./reader-key.ts";

export async function records(
  context: CommandContext,
  file: string,
  options: Options,
): Promise<number> {
  const spec = loadSpec(context, file);
  trustRoot(spec);
  const key = readReaderKey(options["key"]);
  const client = await openKafka(context, spec, openLogger(context, { command: "records" }), {
    role: "reader",
  });
  try {
    let count = 0;
    let refused = 0;
    const found = openRecords({
      ...{ client, spec, keys: [key], signal: context.signal },
      follow: options["follow"] === true,
      onRefused: ({ lane, offset, field, reason }) => {
        refused += 1;
        const what = field === null ? "a record" : `field ${escapeUnsafe(field)}`;
        context.tell(`refused ${what} at lane ${lane}, offset ${offset}: ${reason}`);
      },
    });
    for await (const { text, ...record } of found) {
      count += 1;
      if (options["json"] === true) {
        const { fields: _fields, ...about } = record;
        // The text has numbers as they were written.
        context.print(`${JSON.stringify(about).slice(0, -1)},"fields":${text}}`);
      } else {
        const sealed = record.sealed.length === 0 ? "" : `  sealed: ${record.sealed.join(", ")}`;
        context.print(escapeUnsafe(`${record.id}  ${text}${sealed}`));
      }
    }
    context.tell(`${count.toLocaleString("en")} records, ${refused} refused fields or records`);
    return refused === 0 ? EXIT.ok : EXIT.failed;
  } finally {
    await client.close();
  }
}
