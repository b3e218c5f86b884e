/** `sealstream broker`: an embedded Apache Kafka in the foreground. */
import { once } from "node:events";
import { resolve } from "node:path";
import { openBroker } from "../stream/broker.ts";
import { type CommandContext, EXIT } from "./context.ts";
import { cacheFolder, type Options, portOption } from "./options.ts";

export async function broker(context: CommandContext, options: Options): Promise<number> {
  const data = options["data"];
  const handle = await openBroker({
    brokers: [],
    cacheDir: cacheFolder(context.environment),
    dataDir: typeof data === "string" ? resolve(data) : null,
    port: portOption(options["port"], "port"),
    environment: context.environment,
    onProgress: context.tell,
  });
  context.print(`KAFKA_BROKERS=${handle.brokers.join(",")}`);
  context.tell(
    `${handle.kind} Apache Kafka is running; its log: ${handle.logFile ?? "in the container"}; stop it with Ctrl-C`,
  );
  if (!context.signal.aborted) {
    await once(context.signal, "abort");
  }
  await handle.stop();
  return EXIT.ok;
}
