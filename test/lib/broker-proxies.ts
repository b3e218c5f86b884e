/**
 * TCP proxies between a client and brokers, that can be cut as a network is cut: nothing arrives, nothing is refused.
 *
 * Brokers tell clients each other's addresses, so that a proxy in front of one is soon passed by: `routeThroughProxies`
 * sends every outgoing connection of this process to a broker through that broker's proxy instead. For a process of its
 * own, never for the tests' process.
 */
import { createRequire, syncBuiltinESMExports } from "node:module";
import { connect, createServer, type Server, type Socket } from "node:net";

const HOST = "127.0.0.1";

export interface TcpProxy {
  readonly port: number;
  /** Connections taken so far: none means that somebody passes it by. */
  taken(): number;
  /** From now on no byte passes either way; connections stay open, new ones are taken and hang. */
  cut(): void;
  /** What was held back passes on. */
  heal(): void;
  /** Ends every connection at once, as a firewall that forgets them. */
  reset(): void;
  close(): Promise<void>;
}

/** Listens on a free port of the loopback address. */
export async function startTcpProxy(targetPort: number): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  /** What arrived since the cut, in order. */
  let held: (() => void)[] = [];
  let isCut = false;
  let taken = 0;

  function track(socket: Socket, other: () => Socket): void {
    sockets.add(socket);
    socket.on("data", (chunk) => {
      if (isCut) {
        held.push(() => other().write(chunk));
      } else if (!other().write(chunk)) {
        socket.pause();
        other().once("drain", () => isCut || socket.resume());
      }
    });
    socket.on("end", () => other().end());
    // Because either side may vanish at any time; the other side learns of it by the close.
    socket.on("error", () => undefined);
    socket.on("close", () => {
      sockets.delete(socket);
      other().destroy();
    });
    if (isCut) {
      socket.pause();
    }
  }

  const server: Server = createServer({ allowHalfOpen: true }, (client) => {
    taken += 1;
    const broker: Socket = connect({ host: HOST, port: targetPort, allowHalfOpen: true });
    track(client, () => broker);
    track(broker, () => client);
  });
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  const address = server.address();
  if (address === null || typeof address === "string") {
    throw new Error("the proxy has no port");
  }
  const reset = (): void => {
    for (const socket of sockets) {
      socket.resetAndDestroy();
    }
  };
  return {
    port: address.port,
    taken: () => taken,
    cut() {
      isCut = true;
      for (const socket of sockets) {
        socket.pause();
      }
    },
    heal() {
      isCut = false;
      for (const pass of held) {
        pass();
      }
      held = [];
      for (const socket of sockets) {
        socket.resume();
      }
    },
    reset,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      reset();
      await closed;
    },
  };
}

/** Sends this process's connections to `from` ports to the `to` ports. @param routes [from, to] pairs */
export function routeThroughProxies(routes: readonly (readonly [number, number])[]): void {
  const map = new Map(routes);
  // Because this is the very module object on which everybody calls `connect`, with one options object here.
  const net = createRequire(import.meta.url)("node:net") as {
    connect: (options: { port: number }, listener?: () => void) => Socket;
  };
  const direct = net.connect;
  net.connect = (options, listener) =>
    direct({ ...options, port: map.get(options.port) ?? options.port }, listener);
  // For those who imported the function by its name.
  syncBuiltinESMExports();
}
