/**
 * The independent reader: Apache Kafka's own console consumer (Java) at read_committed. Shares no code with Sealstream.
 *
 * Bytes are printed by Kafka's BytesDeserializer, which writes printable ASCII as it is and everything else, the
 * backslash included, as `\xHH`: so a tab or a newline is always the formatter's.
 */
import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { KAFKA_VERSION } from "../../../pipeline/stream/broker-jars.ts";

const BYTES = "org.apache.kafka.common.serialization.BytesDeserializer";
/** The formatter has the deserializer print this too, so no escape can stand in it: a text that no key of ours is. */
const NULL = "(there is none)";
const POM = `<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>sealstream</groupId><artifactId>console-consumer</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>${KAFKA_VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
`;
const COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/** A committed record as the console consumer prints it. */
export interface PrintedRecord {
  readonly partition: number;
  readonly offset: number;
  readonly key: string | null;
  readonly headers: Readonly<Record<string, string>>;
  /** Null when values were not asked for. */
  readonly value: string | null;
}

/** Fetches Kafka's tools by Maven, once. @returns the folder with the jars */
export async function ensureToolJars(cacheDir: string): Promise<string> {
  const home = join(cacheDir, `kafka-tools-${KAFKA_VERSION}`);
  const libs = join(home, "libs");
  if (existsSync(join(home, "complete"))) {
    return libs;
  }
  await mkdir(cacheDir, { recursive: true });
  const draft = await mkdtemp(join(cacheDir, "fetch-tools-"));
  try {
    await writeFile(join(draft, "pom.xml"), POM);
    const goal = ["-B", "-q", COPY, "-DincludeScope=runtime", "-DoutputDirectory=libs"];
    await promisify(execFile)("mvn", goal, { cwd: draft, timeout: 300_000, maxBuffer: 1 << 24 });
    await writeFile(join(draft, "complete"), `${KAFKA_VERSION}\n`);
    await rename(draft, home).catch((error: unknown) => {
      // Because another process may have finished first; its copy is as good.
      if (!existsSync(join(home, "complete"))) throw error;
    });
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  return libs;
}

/** Bytes of what {@link BYTES} printed. */
export function printedBytes(text: string): Buffer {
  return Buffer.from(
    text.replace(/\\x([0-9A-F]{2})/g, (_, code: string) =>
      String.fromCharCode(Number.parseInt(code, 16)),
    ),
    "latin1",
  );
}

/** One line of the formatter: `Partition:0<TAB>Offset:7<TAB>name:value|name:value<TAB>key[<TAB>value]`. */
export function parseLine(line: string): PrintedRecord {
  const [partition = "", offset = "", headers = "", key = "", value = NULL] = line.split("\t");
  const place = /^Partition:(\d+)$/.exec(partition)?.[1];
  const at = /^Offset:(\d+)$/.exec(offset)?.[1];
  if (place === undefined || at === undefined) {
    throw new Error(`the console consumer printed what is no record: ${line.slice(0, 80)}`);
  }
  const pairs = headers === "NO_HEADERS" ? [] : headers.split("|");
  return {
    partition: Number(place),
    offset: Number(at),
    key: key === NULL ? null : key,
    headers: Object.fromEntries(
      pairs.map((pair) => [pair.slice(0, pair.indexOf(":")), pair.slice(pair.indexOf(":") + 1)]),
    ),
    value: value === NULL ? null : value,
  };
}

export interface ConsoleOptions {
  readonly libs: string;
  readonly brokers: readonly string[];
  readonly topics: readonly string[];
  readonly values: boolean;
  /** It ends when nothing has come for this long. */
  readonly quietMs: number;
  readonly signal: AbortSignal;
}

function consoleArguments(options: ConsoleOptions): string[] {
  const properties = {
    "print.partition": true,
    "print.offset": true,
    "print.headers": true,
    "print.key": true,
    "print.value": options.values,
    "headers.separator": "|",
    "null.literal": NULL,
    "key.deserializer": BYTES,
    "value.deserializer": BYTES,
    "headers.deserializer": BYTES,
  };
  return [
    ...["-Xmx192m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"],
    ...["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", join(options.libs, "*")],
    "org.apache.kafka.tools.consumer.ConsoleConsumer",
    ...["--bootstrap-server", options.brokers.join(",")],
    ...["--include", options.topics.map((topic) => topic.replaceAll(".", "\\.")).join("|")],
    ...["--from-beginning", "--isolation-level", "read_committed"],
    ...["--timeout-ms", String(options.quietMs)],
    ...Object.entries(properties).flatMap(([name, value]) => [
      "--formatter-property",
      `${name}=${value}`,
    ]),
  ];
}

/** Every committed record of the topics, as printed. @throws Error when the consumer cannot read */
export async function readWithConsole(options: ConsoleOptions): Promise<PrintedRecord[]> {
  const child = spawn("java", consoleArguments(options), {
    stdio: ["ignore", "pipe", "pipe"],
    signal: options.signal,
    killSignal: "SIGKILL",
  });
  const words: string[] = [];
  child.stderr.on("data", (chunk: Buffer) => words.push(String(chunk)));
  const ended = new Promise<void>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", () => resolve());
  });
  // A child that cannot be started closes its output, and `ended` says why.
  ended.catch(() => undefined);
  const records: PrintedRecord[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    records.push(parseLine(line));
  }
  await ended;
  const said = /Processed a total of (\d+) messages/.exec(words.join(""))?.[1];
  if (said === undefined || Number(said) !== records.length) {
    throw new Error(
      `the console consumer failed (${records.length} lines): ${words.join("").slice(-600)}`,
    );
  }
  return records;
}
