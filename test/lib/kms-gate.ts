/**
 * A gate before a key management service: lets requests through, or plays a service that is slow, throttles or is away.
 * Works on HTTP as it is, so that it stands before the fake engine and before a real OpenBao alike.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** `half-away`: nothing is unwrapped any more, all else is answered. */
export type Mood = "well" | "slow" | "throttling" | "half-away" | "away";

const SLOW_MS = 400;

/** @param upstream address of the service */
export async function startKmsGate(upstream: string) {
  const state = {
    mood: "well" as Mood,
    /** Requests by mood, and what was asked of the service while it was well or slow. */
    count: { well: 0, slow: 0, throttling: 0, "half-away": 0, away: 0 },
    decrypted: 0,
  };

  async function pass(request: IncomingMessage, body: string, response: ServerResponse) {
    const token = request.headers["x-vault-token"];
    const answer = await fetch(`${upstream}${request.url}`, {
      method: request.method ?? "GET",
      headers: { ...(typeof token === "string" && { "x-vault-token": token }) },
      ...(body !== "" && { body }),
    });
    const text = await answer.text();
    if (request.url?.includes("/decrypt/") === true && answer.ok) state.decrypted += 1;
    response.writeHead(answer.status, { "content-type": "application/json" });
    response.end(text);
  }

  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", async () => {
      const { mood } = state;
      state.count[mood] += 1;
      const isUnwrapping = request.url?.includes("/decrypt/") === true;
      if (mood === "away" || (mood === "half-away" && isUnwrapping)) {
        request.socket.destroy();
        return;
      }
      if (mood === "throttling") {
        response.writeHead(429, { "retry-after": "1" }).end("{}");
        return;
      }
      if (mood === "slow") await sleep(SLOW_MS);
      await pass(request, Buffer.concat(parts).toString(), response).catch(() =>
        request.socket.destroy(),
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    address: `http://127.0.0.1:${port}`,
    state,
    stop: () =>
      new Promise<void>((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

export type KmsGate = Awaited<ReturnType<typeof startKmsGate>>;
