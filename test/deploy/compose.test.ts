/**
 * The container files, checked without an engine: dclint's rules, one service per stage, each with its own keys only,
 * commands that the command line knows, files that exist.
 */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { startHealthServer } from "../../pipeline/observe/health.ts";
import { STAGES } from "../../schemas/topics.ts";

const ROOT = join(import.meta.dirname, "../..");
const read = (name: string): string => readFileSync(join(ROOT, name), "utf8");

interface Mount {
  readonly source: string;
  readonly target: string;
  readonly read_only?: boolean;
  readonly volume?: { readonly subpath: string };
}
interface Service {
  readonly image: string;
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly volumes?: readonly Mount[];
  readonly [key: string]: unknown;
}

const compose: { services: Readonly<Record<string, Service>>; volumes: object } = parse(
  read("docker-compose.yml"),
  { merge: true },
);
const service = (name: string): Service => {
  const found = compose.services[name];
  if (found === undefined) throw new Error(`no service ${name}`);
  return found;
};

describe("docker-compose.yml", () => {
  it("passes dclint without errors or warnings", () => {
    const dclint = join(ROOT, "node_modules/dclint/bin/dclint.cjs");
    // Order and quoting of keys are a matter of taste; every other rule holds.
    const taste = ["service-keys-order", "top-level-properties-order", "require-quotes-in-ports"];
    const disabled = taste.flatMap((rule) => ["--disable-rule", rule]);
    const args = [
      dclint,
      "docker-compose.yml",
      "--max-warnings",
      "0",
      "--color",
      "false",
      ...disabled,
    ];
    const result = spawnSync(process.execPath, args, { cwd: ROOT, encoding: "utf8" });
    expect(result.stdout + result.stderr).not.toMatch(/warning|error/);
    expect(result.status).toBe(0);
  });

  it("has Kafka 4.3.1 that is waited for", () => {
    expect(service("kafka")).toMatchObject({
      image: "apache/kafka:4.3.1",
      healthcheck: expect.anything(),
    });
    expect(service("setup")["depends_on"]).toEqual({ kafka: { condition: "service_healthy" } });
  });

  it.each(STAGES)("runs stage %s with its own keys and nobody else's", (stage) => {
    const { command, volumes, environment, ...rest } = service(stage);
    expect(command?.join(" ")).toContain(
      `run /pipeline/pipeline.yaml --stage ${stage} --in-process --keys /keys`,
    );
    const keys = (volumes ?? []).filter(({ source }) => source === "keys");
    expect(keys).toEqual([
      {
        type: "volume",
        source: "keys",
        target: `/keys/${stage}`,
        read_only: true,
        volume: { subpath: stage },
      },
    ]);
    expect((volumes ?? []).every(({ read_only }) => read_only === true)).toBe(true);
    const secrets = Object.keys(environment ?? {}).filter((name) => name !== "KAFKA_BROKERS");
    expect(secrets).toEqual(stage === "desensitize" ? ["PSEUDONYM_KEY"] : []);
    expect(rest).toMatchObject({
      read_only: true,
      cap_drop: ["ALL"],
      healthcheck: expect.anything(),
    });
    expect(rest["depends_on"]).toEqual({ setup: { condition: "service_completed_successfully" } });
  });

  it("can be scaled: no stage has a name or a host port of its own", () => {
    for (const stage of STAGES) {
      expect(service(stage)).not.toHaveProperty("container_name");
      expect(service(stage)).not.toHaveProperty("ports");
    }
  });

  it("checks health on the port that the stage serves", () => {
    for (const stage of STAGES) {
      const { command = [], healthcheck } = service(stage);
      const port = command[command.indexOf("--metrics-port") + 1];
      expect(healthcheck).toMatchObject({ test: ["CMD", "node", "deploy/stage-health.js", port] });
    }
  });

  it("uses options that the command line has", () => {
    const help = execFileSync(process.execPath, ["bin/sealstream.js", "run", "--help"], {
      cwd: ROOT,
      encoding: "utf8",
    });
    const used = new Set(
      STAGES.flatMap(
        (stage) => service(stage).command?.filter((word) => word.startsWith("--")) ?? [],
      ),
    );
    for (const option of used) expect(help).toContain(option);
  });
});

describe("Dockerfile", () => {
  const dockerfile = read("Dockerfile");
  const copied = [...dockerfile.matchAll(/^COPY (?:--chmod=\S+ )?(?!--)(.+) \S+$/gm)].flatMap(
    ([, from]) => from!.split(" "),
  );

  it("copies files that exist and that .dockerignore lets in", () => {
    const allowed = read(".dockerignore")
      .split("\n")
      .filter((line) => line.startsWith("!"))
      .map((line) => line.slice(1));
    expect(copied.length).toBeGreaterThan(8);
    for (const from of copied) {
      expect(existsSync(join(ROOT, from)), from).toBe(true);
      expect(allowed).toContain(from.split("/")[0]);
    }
  });

  it("keeps keys and dependencies of this machine out, and does not run as root", () => {
    for (const line of ["*", "**/node_modules", "**/keys", "**/*.key"]) {
      expect(read(".dockerignore").split("\n")).toContain(line);
    }
    expect(dockerfile).toMatch(/^USER node$/m);
    expect(dockerfile).toMatch(/npm prune --omit=dev/);
    expect(dockerfile.match(/^FROM node:24-slim/gm)).toHaveLength(2);
  });
});

describe("deploy/setup.sh", () => {
  it("is a shell script without syntax errors that runs known commands", () => {
    execFileSync("sh", ["-n", join(ROOT, "deploy/setup.sh")]);
    const help = execFileSync(process.execPath, ["bin/sealstream.js", "--help"], {
      cwd: ROOT,
      encoding: "utf8",
    });
    for (const [, command] of read("deploy/setup.sh").matchAll(/sealstream\.js (\w+)/g)) {
      expect(help).toContain(` ${command}`);
    }
  });
});

describe("deploy/stage-health.js", () => {
  const check = (port: number) =>
    new Promise<number | null>((resolve) => {
      const script = join(ROOT, "deploy/stage-health.js");
      spawn(process.execPath, [script, String(port)]).once("exit", resolve);
    });

  it("follows /ready", async () => {
    let reason: string | null = "starting";
    const metrics = async () => "";
    const server = await startHealthServer({
      port: 0,
      host: "127.0.0.1",
      notReady: () => reason,
      metrics,
    });
    expect(await check(server.port)).toBe(1);
    reason = null;
    expect(await check(server.port)).toBe(0);
    await server.close();
    expect(await check(server.port)).toBe(1);
  });
});

describe("LICENSE", () => {
  it("is the whole Apache License 2.0, as package.json says", () => {
    const text = read("LICENSE");
    for (const part of [
      "Apache License",
      "Version 2.0, January 2004",
      "9. Accepting Warranty",
      "END OF TERMS AND CONDITIONS",
      "APPENDIX",
    ]) {
      expect(text).toContain(part);
    }
    expect(text.split("\n").length).toBeGreaterThan(195);
    expect(JSON.parse(read("package.json")).license).toBe("Apache-2.0");
  });
});
