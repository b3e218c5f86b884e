/**
 * The Java peers of the lane benchmark: jars out of Maven, fetched once into the cache, and our two small programs
 * compiled against them into an ignored folder.
 *
 * No Java, no registry: the peers are reported as missing, with the reason.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

/** The embedded broker's version: client and broker of one release. */
export const KAFKA_STREAMS_VERSION = "4.3.1";
const DOWNLOAD_TIMEOUT_MS = 300_000;
const SOURCES = join(import.meta.dirname, "..", "lane", "peers");
const CLASSES = join(import.meta.dirname, "..", ".peers", "lane");

const run = promisify(execFile);

const POM = `<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>sealstream</groupId><artifactId>bench-peers</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-streams</artifactId><version>${KAFKA_STREAMS_VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
`;

export interface JavaPeers {
  readonly javaVersion: string;
  /** Arguments of `java` up to the name of the class. */
  readonly javaArgs: readonly string[];
}

async function ensureJars(cacheDir: string, tell: (message: string) => void): Promise<string> {
  const home = join(cacheDir, `kafka-streams-${KAFKA_STREAMS_VERSION}`);
  const complete = join(home, "complete");
  if (existsSync(complete)) return join(home, "libs");
  tell(`fetching Kafka Streams ${KAFKA_STREAMS_VERSION} with Maven (once)`);
  await mkdir(cacheDir, { recursive: true });
  const draft = await mkdtemp(join(cacheDir, "fetch-"));
  try {
    await writeFile(join(draft, "pom.xml"), POM);
    const goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
    await run("mvn", ["-B", "-q", goal, "-DincludeScope=runtime", "-DoutputDirectory=libs"], {
      cwd: draft,
      timeout: DOWNLOAD_TIMEOUT_MS,
      maxBuffer: 1 << 24,
    });
    await writeFile(join(draft, "complete"), `${KAFKA_STREAMS_VERSION}\n`);
    await rm(home, { recursive: true, force: true });
    await rename(draft, home);
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  return join(home, "libs");
}

/** The peers, or in words why they cannot be had. */
export async function openJavaPeers(
  cacheDir: string,
  tell: (message: string) => void,
): Promise<JavaPeers | string> {
  let doing = "run java: install Java 17";
  try {
    const { stderr } = await run("java", ["-version"]);
    const javaVersion = /version "([^"]+)"/.exec(stderr)?.[1] ?? "unknown";
    doing = "fetch kafka-streams with Maven";
    const classPath = join(await ensureJars(cacheDir, tell), "*");
    doing = "compile with javac: install a Java 17 development kit";
    const sources = (await readdir(SOURCES)).filter((file) => file.endsWith(".java"));
    await rm(CLASSES, { recursive: true, force: true });
    await mkdir(CLASSES, { recursive: true });
    const files = sources.map((file) => join(SOURCES, file));
    await run("javac", ["--release", "17", "-d", CLASSES, "-cp", classPath, ...files]);
    const logging = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error";
    return { javaVersion, javaArgs: ["-Xmx1g", logging, "-cp", `${CLASSES}:${classPath}`] };
  } catch {
    // Because a peer that cannot be had is an outcome of a benchmark, told in its table.
    return `could not ${doing}`;
  }
}
