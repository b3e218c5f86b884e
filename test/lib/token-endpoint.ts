/** An identity provider for tests: OAuth 2.0 client credentials against one secret, on this machine. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

/** Client credentials answered with unsigned tokens, which Kafka's validator for development takes. */
export async function startTokenEndpoint({ livesSeconds }: { livesSeconds: number }) {
  const expiries: number[] = [];
  const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString("base64url");
  const server = createServer((request, response) => {
    const [, pair = ""] = (request.headers.authorization ?? "").split(" ");
    const [sub, secret] = Buffer.from(pair, "base64").toString().split(":");
    if (secret !== "right") {
      response.writeHead(401).end('{"error":"invalid_client"}');
      return;
    }
    const iat = Math.floor(Date.now() / 1_000);
    const exp = iat + livesSeconds;
    expiries.push(exp * 1_000);
    const token = `${encode({ alg: "none" })}.${encode({ sub, iat, exp })}.`;
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ access_token: token, expires_in: livesSeconds }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/token`,
    expiries,
    stop: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}
