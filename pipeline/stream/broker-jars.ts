/**
 * What an embedded Kafka is run from: the machine's Java and Kafka's jars, fetched once by Maven and cached.
 *
 * Starts no broker and knows no port.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { SealstreamError } from "../errors.ts";

/** 4.4.0 is only half published. */
export const KAFKA_VERSION = "4.3.1";
const MIN_JAVA = 17;
const DOWNLOAD_TIMEOUT_MS = 300_000;

const run = promisify(execFile);

const POM = `<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>sealstream</groupId><artifactId>embedded-kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>${KAFKA_VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
`;

/** Environment of the processes that are started (PATH, JAVA_HOME, Maven's settings). */
export type Environment = Readonly<Record<string, string | undefined>>;

export interface JarOptions {
  /** Folder that keeps the downloaded jars between runs. */
  readonly cacheDir: string;
  readonly environment: Environment;
  readonly onProgress: (message: string) => void;
}

/** @throws SealstreamError `broker-unavailable` when there is no Java or it is too old */
export async function checkJava(environment: Environment): Promise<void> {
  let text: string;
  try {
    text = (await run("java", ["-version"], { env: environment })).stderr;
  } catch {
    throw new SealstreamError(
      "broker-unavailable",
      `java is not on the PATH: install Java ${MIN_JAVA}`,
    );
  }
  const major = Number(/version "(\d+)/.exec(text)?.[1] ?? 0);
  if (major < MIN_JAVA) {
    throw new SealstreamError(
      "broker-unavailable",
      `java is version ${major}: install Java ${MIN_JAVA} or newer`,
    );
  }
}

/**
 * Fetches the jars into the cache unless they are there; safe against another process doing the same.
 * @returns the folder with the jars
 * @throws SealstreamError `broker-unavailable`
 */
export async function ensureJars(options: JarOptions): Promise<string> {
  const home = join(options.cacheDir, `kafka-${KAFKA_VERSION}`);
  const complete = join(home, "complete");
  if (existsSync(complete)) {
    return join(home, "libs");
  }
  options.onProgress(`fetching Apache Kafka ${KAFKA_VERSION} with Maven (45 MB, once)`);
  await mkdir(options.cacheDir, { recursive: true });
  const draft = await mkdtemp(join(options.cacheDir, "fetch-"));
  try {
    await writeFile(join(draft, "pom.xml"), POM);
    await run(
      "mvn",
      [
        "-B",
        "-q",
        "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies",
        "-DincludeScope=runtime",
        "-DoutputDirectory=libs",
      ],
      { cwd: draft, timeout: DOWNLOAD_TIMEOUT_MS, env: options.environment, maxBuffer: 1 << 24 },
    ).catch((error: unknown) => {
      throw new SealstreamError(
        "broker-unavailable",
        "Maven could not fetch Kafka's jars (is mvn on the PATH?)",
        { cause: error },
      );
    });
    await writeFile(join(draft, "complete"), `${KAFKA_VERSION}\n`);
    await rm(home, { recursive: true, force: true });
    await rename(draft, home).catch(async (error: unknown) => {
      // Because another process may have finished first; its copy is as good.
      if (!existsSync(complete)) {
        throw error;
      }
    });
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  return join(home, "libs");
}
