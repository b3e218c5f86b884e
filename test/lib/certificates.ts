/** Certificates for tests, issued by the machine's openssl: an authority, and a key with a certificate from it. */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Whether there is an openssl that can issue certificates. */
export function hasOpenssl(): boolean {
  try {
    return execFileSync("openssl", ["version"], { encoding: "utf8" }).startsWith("OpenSSL 3");
  } catch {
    return false;
  }
}

export interface Issued {
  readonly keyFile: string;
  readonly certificateFile: string;
}

const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];

function request(folder: string, name: string, args: readonly string[]): Issued {
  const keyFile = join(folder, `${name}.key.pem`);
  const certificateFile = join(folder, `${name}.cert.pem`);
  execFileSync(
    "openssl",
    ["req", "-x509", ...KEY, "-keyout", keyFile, "-out", certificateFile, ...args],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  return { keyFile, certificateFile };
}

/** A certificate authority. */
export function createAuthority(folder: string, name: string): Issued {
  return request(folder, name, ["-subj", `/CN=${name}`]);
}

/** A key and a certificate of an authority, for this machine unless `hosts` says another. */
export function issue(
  folder: string,
  name: string,
  authority: Issued,
  { hosts = "IP:127.0.0.1,DNS:localhost", subject = `/CN=${name}` } = {},
): Issued {
  return request(folder, name, [
    ...["-subj", subject, "-CA", authority.certificateFile, "-CAkey", authority.keyFile],
    ...["-addext", `subjectAltName=${hosts}`],
    ...["-addext", "extendedKeyUsage=serverAuth,clientAuth"],
    ...["-addext", "basicConstraints=critical,CA:FALSE"],
  ]);
}

/** Key and certificate in one file, as Kafka's PEM key stores are. */
export function keyStoreOf(folder: string, issued: Issued): string {
  const file = join(folder, "key-store.pem");
  writeFileSync(
    file,
    readFileSync(issued.keyFile, "utf8") + readFileSync(issued.certificateFile, "utf8"),
  );
  return file;
}
