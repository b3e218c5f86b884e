/** TCP proxies in front of brokers, which can swallow answers and cut connections: faults of the network on demand. */
import { connect, createServer, type Server, Socket } from "node:net";

export interface TcpProxy {
  /** For `new Kafka({ socketFactory })`: every connection goes through a proxy of its broker. */
  readonly socketFactory: (options: {
    host: string;
    port: number;
    onConnect: () => void;
  }) => Socket;
  /** From now on, what brokers answer is not passed on. */
  swallowAnswers(isSwallowing: boolean): void;
  /** Ends every connection at once, in both directions. */
  cut(): void;
  /** Cuts when this many more bytes were sent towards brokers; what came before is passed on. */
  cutAfter(bytes: number): void;
  /** How often connections were cut so far. */
  cuts(): number;
  /** Bytes sent towards brokers so far. */
  sentBytes(): number;
  close(): Promise<void>;
}

export function createTcpProxy(): TcpProxy {
  const sockets = new Set<Socket>();
  const servers: Server[] = [];
  let isSwallowing = false;
  let sent = 0;
  let cuts = 0;
  let cutAt = Number.POSITIVE_INFINITY;
  const cut = (): void => {
    cutAt = Number.POSITIVE_INFINITY;
    cuts += 1;
    for (const socket of sockets) socket.destroy();
    sockets.clear();
  };
  const pair = (inner: Socket, host: string, port: number): void => {
    const outer = connect(port, host);
    for (const [socket, other] of [
      [inner, outer],
      [outer, inner],
    ] as const) {
      sockets.add(socket);
      socket.on("error", () => other.destroy());
      socket.on("close", () => other.destroy());
    }
    inner.on("data", (chunk: Buffer) => {
      const room = cutAt - sent;
      sent += chunk.length;
      if (chunk.length < room) {
        outer.write(chunk);
      } else {
        outer.write(chunk.subarray(0, room), cut);
      }
    });
    outer.on("data", (chunk: Buffer) => {
      if (!isSwallowing) inner.write(chunk);
    });
  };
  return {
    socketFactory({ host, port, onConnect }) {
      const server = createServer((inner) => {
        server.close();
        pair(inner, host, port);
      });
      servers.push(server);
      // Because a socket without a handler would end the process before kafkajs adds its own.
      const socket = connectWhenListening(server);
      socket.once("connect", onConnect);
      return socket;
    },
    swallowAnswers(value) {
      isSwallowing = value;
    },
    cut,
    cutAfter(bytes) {
      cutAt = sent + bytes;
    },
    cuts: () => cuts,
    sentBytes: () => sent,
    async close() {
      cut();
      await Promise.all(
        servers.map((server) => new Promise((resolve) => server.close(() => resolve(null)))),
      );
    },
  };
}

/** A client of a server that is about to listen. */
function connectWhenListening(server: Server): Socket {
  const socket = new Socket();
  server.listen(0, "127.0.0.1", () => {
    const address = server.address();
    if (address !== null && typeof address !== "string") socket.connect(address.port, "127.0.0.1");
  });
  return socket;
}
