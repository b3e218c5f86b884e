/**
 * jose and the AWS Encryption SDK as peers of `npm run bench -- encrypt`: both seal and open one record a call.
 *
 * jose: compact JWE, `dir` with A256GCM, the key imported once. AWS: a raw AES keyring behind its caching materials
 * manager, so that a data key is used again as ours is; the place goes in as encryption context.
 */
import { randomBytes, webcrypto } from "node:crypto";
import { openNpmPeers } from "../lib/npm-peers.ts";
import type { Timed } from "../lib/rounds.ts";

export const NPM_PEERS = { jose: "6.2.17", "@aws-crypto/client-node": "5.0.2" } as const;
export const JOSE = "jose, compact JWE";
export const AWS = "AWS Encryption SDK, caching";

/** Seals one record, and opens what it sealed. */
export interface Codec {
  readonly name: string;
  readonly seal: (plaintext: Uint8Array) => Promise<unknown>;
  readonly open: (sealed: unknown) => Promise<Uint8Array>;
}

type Key = Awaited<ReturnType<typeof webcrypto.subtle.importKey>>;

/** What is used of jose. */
interface Jose {
  readonly CompactEncrypt: new (
    plaintext: Uint8Array,
  ) => {
    setProtectedHeader(header: object): { encrypt(key: Key): Promise<string> };
  };
  compactDecrypt(jwe: string, key: Key): Promise<{ plaintext: Uint8Array }>;
}

/** What is used of the AWS Encryption SDK. */
interface Aws {
  readonly CommitmentPolicy: { readonly REQUIRE_ENCRYPT_REQUIRE_DECRYPT: unknown };
  readonly RawAesWrappingSuiteIdentifier: {
    readonly AES256_GCM_IV12_TAG16_NO_PADDING: unknown;
  };
  readonly RawAesKeyringNode: new (options: object) => unknown;
  readonly NodeCachingMaterialsManager: new (options: object) => unknown;
  getLocalCryptographicMaterialsCache(capacity: number): unknown;
  buildClient(policy: unknown): {
    encrypt(cmm: unknown, plaintext: Uint8Array, options: object): Promise<{ result: Buffer }>;
    decrypt(cmm: unknown, sealed: Buffer): Promise<{ plaintext: Buffer }>;
  };
}

async function joseCodec(module: Jose): Promise<Codec> {
  const key = await webcrypto.subtle.importKey("raw", randomBytes(32), "AES-GCM", false, [
    "encrypt",
    "decrypt",
  ]);
  const header = { alg: "dir", enc: "A256GCM", kid: "benchmark" };
  return {
    name: JOSE,
    seal: (plaintext) =>
      new module.CompactEncrypt(plaintext).setProtectedHeader(header).encrypt(key),
    // Because only what `seal` returned is handed in.
    open: async (sealed) => (await module.compactDecrypt(sealed as string, key)).plaintext,
  };
}

function awsCodec(module: Aws): Codec {
  const client = module.buildClient(module.CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT);
  const cmm = new module.NodeCachingMaterialsManager({
    backingMaterials: new module.RawAesKeyringNode({
      keyName: "benchmark",
      keyNamespace: "sealstream",
      unencryptedMasterKey: new Uint8Array(randomBytes(32)),
      wrappingSuite: module.RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
    }),
    cache: module.getLocalCryptographicMaterialsCache(100),
    maxAge: 86_400_000,
    maxMessagesEncrypted: 2 ** 31,
  });
  const encryptionContext = { pipeline: "digits", topic: "examples", lane: "0" };
  return {
    name: AWS,
    seal: async (plaintext) => (await client.encrypt(cmm, plaintext, { encryptionContext })).result,
    // Because only what `seal` returned is handed in.
    open: async (sealed) => (await client.decrypt(cmm, sealed as Buffer)).plaintext,
  };
}

/** Both peers, each of which gave back what it sealed; or in words why they cannot be had. */
export async function openNpmCodecs(tell: (message: string) => void): Promise<Codec[] | string> {
  const peers = await openNpmPeers("encrypt", NPM_PEERS, tell);
  if (typeof peers === "string") return peers;
  const codecs = [
    await joseCodec((await peers.load("jose")) as Jose),
    awsCodec((await peers.load("@aws-crypto/client-node")) as Aws),
  ];
  const plaintext = randomBytes(256);
  for (const { name, seal, open } of codecs) {
    if (Buffer.compare(await open(await seal(plaintext)), plaintext) !== 0) {
      throw new Error(`${name} did not give back what it sealed`);
    }
  }
  return codecs;
}

/** A turn of one codec: it is slow enough that the clock is asked after every record. */
export async function codecTurn(
  { name, seal, open }: Codec,
  what: "seal" | "open",
  plaintext: Uint8Array,
): Promise<Timed> {
  const sealed = await seal(plaintext);
  const once = what === "seal" ? () => seal(plaintext) : () => open(sealed);
  return {
    name,
    async turn(turnMs) {
      const start = performance.now();
      let [count, elapsedMs] = [0, 0];
      while (elapsedMs < turnMs) {
        await once();
        count++;
        elapsedMs = performance.now() - start;
      }
      return (count * 1000) / elapsedMs;
    },
  };
}
