/**
 * The command line: names, arguments and help of every command; each is in `commands/`.
 *
 * Exit codes: 0 done, 1 failed with one sentence, 2 the command line or the pipeline file is not valid, 75 a stage that
 * should be started again.
 */
import { type CAC, cac } from "cac";
import { type CommandContext, EXIT, STANDARD_INPUT } from "./commands/context.ts";
import type { Options } from "./commands/options.ts";
import { isSealstreamError, SealstreamError } from "./errors.ts";
import { errorName } from "./stream/error-name.ts";

const VERSION = "0.1.0";

function createContext(signal: AbortSignal): CommandContext {
  return {
    environment: process.env,
    clock: Date.now,
    print: (line) => process.stdout.write(`${line}\n`),
    tell: (line) => process.stderr.write(`${line}\n`),
    signal,
    inputEnds,
    isTerminal: process.stderr.isTTY === true,
    // Some terminals do not say how wide they are.
    outputColumns: process.stdout.isTTY === true ? process.stdout.columns || 80 : undefined,
  };
}

function inputEnds(): AbortSignal {
  const ended = new AbortController();
  process.stdin.once("close", () => ended.abort());
  process.stdin.once("error", () => ended.abort());
  process.stdin.resume();
  return ended.signal;
}

/** Says what went wrong in one sentence; an unknown error is a bug and says so without quoting what it may hold. */
function explain(error: unknown): { message: string; code: number } {
  if (isSealstreamError(error)) {
    const invalid = error.code === "usage" || error.code === "spec-invalid";
    return { message: error.message, code: invalid ? EXIT.invalid : EXIT.failed };
  }
  // Because cac marks its complaints about the command line by this name.
  const { name, message } = error as Error;
  if (name === "CACError") {
    return { message: `${message}; see "sealstream --help".`, code: EXIT.invalid };
  }
  return {
    message: `sealstream failed (${errorName(error)}); run it with SEALSTREAM_LOG=debug.`,
    code: EXIT.failed,
  };
}

type Command<A extends unknown[]> = (context: CommandContext, ...args: A) => Promise<number>;

/** Runs a command when it is chosen; its module is loaded only then, since TensorFlow and SEAL are large. */
type Runner = <A extends unknown[]>(load: () => Promise<Command<A>>) => (...args: A) => void;

/** What needs no cluster. */
function declareChecks(cli: CAC, run: Runner): void {
  cli
    .command("check <file>", "Check a pipeline file and say what it does")
    .option("--strict", "Exit with 1 when there are warnings")
    .option("--json", "Complaints and warnings as JSON")
    .action(run<[string, Options]>(async () => (await import("./commands/check.ts")).check));
  cli
    .command(
      "plan <file>",
      "Say how predictions are computed on ciphertexts, what they cost, and why",
    )
    .option("--json", "The plan as JSON")
    .action(run<[string, Options]>(async () => (await import("./commands/plan.ts")).plan));
  cli
    .command(
      "preview <file> <input>",
      "Show what the rules make of the first lines of an NDJSON file (- is standard input)",
    )
    .option("--records <count>", "How many lines (default: 5)")
    .option("--show-values", "Show values though standard output is no terminal")
    .option("--json", "States, rules and lengths as JSON lines, without values")
    .action(
      run<[string, string, Options]>(async () => (await import("./commands/preview.ts")).preview),
    );
}

function declareCommands(cli: CAC, run: Runner): void {
  cli
    .command("broker", "Run an embedded Apache Kafka in the foreground")
    .option("--port <port>", "Port to listen on (default: any free one)")
    .option("--data <dir>", "Keep the data in this folder (default: a temporary one)")
    .action(run<[Options]>(async () => (await import("./commands/broker.ts")).broker));
  cli
    .command("topics <file>", "Create the topics that are missing and check all")
    .option("--acls", "Print who may do what, as arguments of kafka-acls.sh; change nothing")
    .option("--apply", "With --acls: create them (the operator needs Alter on the cluster)")
    .option("--json", "Topics, or ACLs, as JSON")
    .action(run<[string, Options]>(async () => (await import("./commands/topics.ts")).topics));
  cli
    .command("run <file>", "Run all stages as supervised processes, or one of them")
    .option("--stage <name>", "Only this stage")
    .option("--instances <count>", "Processes of each stage (default: 1)")
    .option("--keys <dir>", "Folder of the keys (default: keys beside the pipeline file)")
    .option(
      "--metrics-port <port>",
      "Serve /ping, /ready and /metrics; several processes take ports from this one on",
    )
    .option("--metrics-host <host>", "Address of the metrics port (default: 127.0.0.1)")
    .option("--json", "Progress as JSON lines on standard output")
    .option("--in-process", "Run the one stage in this process, without a supervisor")
    .option("--instance <number>", "Number of this instance in its reports")
    .option("--supervised", "End when standard input closes (set by the supervisor)")
    .action(run<[string, Options]>(async () => (await import("./commands/run.ts")).run));
  cli
    .command("status <file>", "Show where stages, training, privacy and predictions stand")
    .option(
      "--metrics-port <port>",
      "As given to run: also what its processes say (/ready, the backend of train)",
    )
    .option("--metrics-host <host>", "As given to run (default: 127.0.0.1)")
    .option("--instances <count>", "As given to run (default: 1)")
    .option("--json", "The same as one JSON object, lane by lane")
    .action(run<[string, Options]>(async () => (await import("./commands/status.ts")).status));
  cli
    .command(
      "produce <file> <input>",
      "Write the lines of an NDJSON file (- is standard input) to raw",
    )
    .action(
      run<[string, string, Options]>(async () => (await import("./commands/produce.ts")).produce),
    );
  cli
    .command("predictions <file>", "Decrypt predictions and print them as NDJSON")
    .option("--keys <dir>", "Folder of the keys (default: keys beside the pipeline file)")
    .option("--follow", "Wait for more until stopped")
    .option("--group <name>", "Go on where this consumer group stopped, and keep the place with it")
    .option("--labels", "Record ids and labels only: what may leave the consumer's zone")
    .option("--score-bits <n>", "Round scores to multiples of 2^-n, where that is coarser")
    .option(
      "--unrounded-scores-risk-the-secret-key",
      "Print scores to the last bit: with the ciphertexts they give the secret key away",
    )
    .action(
      run<[string, Options]>(async () => (await import("./commands/predictions.ts")).predictions),
    );
  cli
    .command(
      "records <file>",
      "Print the records that encrypt.records shares, as far as a key opens them",
    )
    .option("--key <file>", "Private key that the owner granted: PKCS#8 in PEM, mode 0600")
    .option("--follow", "Wait for more until stopped")
    .option("--json", "JSON lines, with what is sealed or refused")
    .action(run<[string, Options]>(async () => (await import("./commands/records.ts")).records));
}

/** What the models are and what they cost. */
function declareModels(cli: CAC, run: Runner): void {
  cli
    .command("export <file>", "Write a model to a file that other programs read")
    .option("--format <format>", "safetensors or onnx")
    .option("--out <path>", "The file to write; it must not exist")
    .option(
      "--model-version <n>",
      "Of the newest run (default: its newest; the last eight are there)",
    )
    .option("--keys <dir>", "Folder of the keys (default: keys beside the pipeline file)")
    .action(run<[string, Options]>(async () => (await import("./commands/export.ts")).exportModel));
  cli
    .command("ledger <file>", "Show the privacy ledger")
    .option("--verify", "Recompute every entry; exit 1 on any edit, gap or fork")
    .option("--json", "Entries as JSON lines")
    .action(run<[string, Options]>(async () => (await import("./commands/ledger.ts")).ledger));
}

function declareKeys(cli: CAC, run: Runner): void {
  cli
    .command(
      "keys <action> <file> [what]",
      "create FILE, list FILE, rotate FILE PURPOSE, grant FILE, revoke FILE [KID], or export FILE",
    )
    .option("--keys <dir>", "Folder for the keys (default: keys beside the pipeline file)")
    .option(
      "--zone <zone>",
      "create, export: only this zone's, may be repeated; rotate identity: whose",
    )
    .option("--keep <kid>", "rotate identity: also this published key, may be repeated; or all")
    .option("--seal <how>", "create, rotate: seal key files by passphrase or vault:PATH")
    .option(
      "--topic <topic>",
      "grant, revoke: examples or records; rotate data-keys: of this topic",
    )
    .option("--name <name>", "grant, revoke: what the pipeline file calls the third party")
    .option("--public-key <key>", "grant: SPKI PEM file of its public key, or vault:PATH")
    .option("--from-now", "grant: nothing that was sealed before")
    .option("--secret <purpose>", "export: a private key as PKCS#8, to a terminal only")
    .option("--json", "list, export: JSON on standard output")
    .action(
      run<[string, string, string | undefined, Options]>(
        async () => (await import("./commands/keys.ts")).keys,
      ),
    );
}

function declareDeadLetters(cli: CAC, run: Runner): void {
  cli
    .command(
      "dead-letters <action> <file> [letter]",
      "list FILE, show FILE STAGE/PARTITION/OFFSET, or replay FILE: what the stages refused",
    )
    .option("--stage <name>", "Only letters of this stage")
    .option("--partition <number>", "replay: only letters of this partition")
    .option("--offset <number>", "replay: the letter at this offset of --stage and --partition")
    .option("--reason <reason>", "replay: letters with this reason")
    .option("--all", "replay: every letter whose record passes now")
    .option("--dry-run", "replay: say what would become of each letter, and write nothing")
    .option("--max-attempts <count>", "replay: not what was replayed this often (default: 3)")
    .option("--unverified", "replay: also letters whose record has expired")
    .option("--keys <dir>", "show, replay: folder of the keys (default: beside the pipeline file)")
    .option("--limit <count>", "list: print no more letters than this")
    .option("--json", "JSON lines on standard output")
    .action(
      run<[string, string, string | undefined, Options]>(
        async () => (await import("./commands/dead-letters.ts")).deadLetters,
      ),
    );
}

function declarePlugin(cli: CAC, run: Runner): void {
  cli
    .command(
      "plugin <action> <target>",
      "test MODULE, bench MODULE or new NAME: for those who write plugins",
    )
    .option("--config <file>", "test, bench: what the plugin is configured with")
    .option("--input <file>", "test, bench: rows to try, one a line")
    .option("--memory-max-mb <count>", "test, bench: most memory of the plugin (default: 64)")
    .option("--deadline-ms <ms>", "test, bench: most time for a batch (default: 2000)")
    .option("--language <name>", "new: assemblyscript (default), rust or c")
    .option("--json", "test, bench: the report as JSON")
    .action(
      run<[string, string, Options]>(async () => (await import("./commands/plugin.ts")).plugin),
    );
}

/** `-` is standard input; the parser would take it for an option without a name. */
function standardInput(word: string): string {
  return word === "-" ? STANDARD_INPUT : word;
}

/** Runs one command. @returns the exit code */
export async function main(argv: readonly string[]): Promise<number> {
  // Because a reader such as `head` may have seen enough.
  process.stdout.on("error", () => process.exit(EXIT.ok));
  const stop = new AbortController();
  process.once("SIGTERM", () => stop.abort());
  process.once("SIGINT", () => stop.abort());
  const context = createContext(stop.signal);
  const cli = cac("sealstream");
  let running: Promise<number> | null = null;
  const run: Runner =
    (load) =>
    (...args) => {
      running = load().then((command) => command(context, ...args));
    };
  declareChecks(cli, run);
  declareCommands(cli, run);
  declareModels(cli, run);
  declareKeys(cli, run);
  declareDeadLetters(cli, run);
  declarePlugin(cli, run);
  cli.help();
  cli.version(VERSION);
  try {
    const parsed = cli.parse(argv.map(standardInput), { run: false });
    if (cli.matchedCommand === undefined) {
      if (parsed.options["help"] === true || parsed.options["version"] === true) {
        return EXIT.ok;
      }
      const [word] = parsed.args;
      if (word === undefined) {
        cli.outputHelp();
        return EXIT.invalid;
      }
      throw new SealstreamError("usage", `There is no command "${word}"; see "sealstream --help".`);
    }
    cli.runMatchedCommand();
    return await (running ?? Promise.resolve(EXIT.ok));
  } catch (error) {
    const { message, code } = explain(error);
    context.tell(message);
    if (context.environment["SEALSTREAM_LOG"] === "debug") {
      process.stderr.write(`${error instanceof Error ? error.stack : ""}\n`);
    }
    return code;
  } finally {
    // Because a standard input that is being read would keep the process alive.
    process.stdin.destroy();
  }
}
