/**
 * The processes of a benchmark's contenders: started, watched, and ended for certain.
 *
 * Each holds a pipe or a channel to us, so that it ends itself when we are killed.
 */
import { type ChildProcess, spawn } from "node:child_process";

/** Last bytes of a child's standard error that an error message may show. */
const KEPT_ERROR_CHARS = 2_000;
const STOP_TIMEOUT_MS = 15_000;

export interface Child {
  readonly pid: number;
  /** Why it is no longer running, with the end of its standard error; null while it runs. */
  failure(): string | null;
  /** Messages over the channel, for children that have one. */
  onMessage(listener: (message: unknown) => void): void;
  /** To a child that has a channel; lost when it has ended, which `failure` tells. */
  send(message: object): void;
  /** Stops it where it is, or lets it go on. */
  hold(held: boolean): void;
  /** Asks it to end (SIGTERM, or the end of its input), then SIGKILL; resolves when it has ended. */
  stop(): Promise<void>;
}

/**
 * @param options.channel whether it is a Node process that is given a message channel
 * @param options.env its environment; ours unless said
 */
export function startChild(
  command: string,
  args: readonly string[],
  options: {
    readonly channel: boolean;
    readonly cwd: string;
    readonly env?: Readonly<Record<string, string>>;
    /** What it is asked to end by; the end of its input unless it has a channel. */
    readonly endsOn?: "signal";
  },
): Child {
  const child: ChildProcess = spawn(command, args, {
    cwd: options.cwd,
    env: options.env ?? process.env,
    stdio: options.channel ? ["ignore", "ignore", "pipe", "ipc"] : ["pipe", "ignore", "pipe"],
  });
  let errors = "";
  let failure: string | null = null;
  child.stderr?.setEncoding("utf8").on("data", (chunk: string) => {
    errors = (errors + chunk).slice(-KEPT_ERROR_CHARS);
  });
  const ended = new Promise<void>((resolve) => {
    child.once("error", (error) => {
      failure = `could not start: ${error.message}`;
      resolve();
    });
    child.once("close", (code, signal) => {
      failure ??= `ended with ${code ?? signal}: ${errors.trim()}`;
      resolve();
    });
  });
  return {
    pid: child.pid ?? -1,
    failure: () => failure,
    onMessage: (listener) => child.on("message", listener),
    // Because a child that is gone cannot be told anything.
    send: (message) => void child.send?.(message, () => undefined),
    hold: (held) => void child.kill(held ? "SIGSTOP" : "SIGCONT"),
    async stop() {
      if (options.channel || options.endsOn === "signal") child.kill("SIGTERM");
      else child.stdin?.end();
      const kill = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
      await ended;
      clearTimeout(kill);
    },
  };
}
