/**
 * `/ping`, `/ready` and `/metrics` of one stage instance.
 *
 * `/ping`: the process answers. `/ready`: its lanes are assigned, nothing has ended them and it takes records in; else 503
 * with the reason: a code, or where training has ended or waits, why, in a sentence or two of public facts. Must not show
 * anything else but counts.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface HealthServer {
  readonly port: number;
  close(): Promise<void>;
}

export interface HealthOptions {
  /** 0 takes any free port. */
  readonly port: number;
  readonly host: string;
  /** null when ready, else why not: a code or public facts, nothing about a record. */
  readonly notReady: () => string | null;
  readonly metrics: () => Promise<string>;
}

export function startHealthServer(options: HealthOptions): Promise<HealthServer> {
  const server = createServer((request, response) => {
    const send = (status: number, text: string): void => {
      response
        .writeHead(status, { "content-type": "text/plain; version=0.0.4; charset=utf-8" })
        .end(text);
    };
    switch (request.url) {
      case "/ping":
        send(200, "pong\n");
        return;
      case "/ready": {
        const reason = options.notReady();
        send(reason === null ? 200 : 503, `${reason ?? "ready"}\n`);
        return;
      }
      case "/metrics":
        options.metrics().then(
          (text) => send(200, text),
          () => send(500, "internal\n"),
        );
        return;
      default:
        send(404, "not found\n");
    }
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, () => {
      // Because a server that listens on TCP has an AddressInfo.
      const { port } = server.address() as AddressInfo;
      resolve({
        port,
        close: () =>
          new Promise((done) => {
            server.close(() => done());
            server.closeAllConnections();
          }),
      });
    });
  });
}
