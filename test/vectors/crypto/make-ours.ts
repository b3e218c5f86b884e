/**
 * Makes ours.json: messages that Sealstream sealed, for another implementation to open (`make.py check`).
 *
 * Keys and nonces are random, so it is new with every run: node test/vectors/crypto/make-ours.ts
 */
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { writeFileSync } from "node:fs";
import { createDataKey } from "../../../pipeline/crypto/data-key.ts";
import { sealEnvelope } from "../../../pipeline/crypto/envelope.ts";
import { createSigningKey } from "../../../pipeline/crypto/key-handles.ts";
import { sealTo } from "../../../pipeline/crypto/sealed-box.ts";
import { createRecipient, createUnwrapKeyOf } from "../../../pipeline/crypto/wrap/key-wrap.ts";

const PURPOSE = "training-unwrap";
const pipeline = "digits";
const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const utf8 = (text: string) => new Uint8Array(Buffer.from(text, "utf8"));

const privateKeys = [
  generateKeyPairSync("x25519").privateKey,
  generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey,
  generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey,
];

const pkcs8Of = (key: KeyObject) => hexOf(key.export({ format: "der", type: "pkcs8" }));

const recipientOf = (key: KeyObject) => {
  const { publicKey, algorithm } = createUnwrapKeyOf(PURPOSE, key);
  return createRecipient(PURPOSE, publicKey, algorithm);
};

const boxes = [...privateKeys.map((key) => [key]), privateKeys].map((keys, number) => {
  const [aad, plaintext] = [utf8(`aad ${number}`), utf8(`a box for ${keys.length}`)];
  const message = sealTo({ recipients: keys.map(recipientOf), plaintext, aad });
  return {
    privateKeys: keys.map(pkcs8Of),
    aad: hexOf(aad),
    plaintext: hexOf(plaintext),
    message: hexOf(message),
  };
});

const signer = createSigningKey("owner-signing", utf8("a seed of a test, 32 bytes long."));
const dataKeys = await Promise.all(
  privateKeys.map(async (key, lane) => {
    const scope = { pipeline, topic: "examples", lane } as const;
    const recipients = [recipientOf(key)];
    const { dataKey, entry } = await createDataKey({ ...scope, recipients, signer });
    const plaintext = utf8(`sealed in lane ${lane}`);
    const context = { ...scope, recordId: utf8("id"), schemaVersion: 1 };
    const envelope = sealEnvelope({ dataKey, plaintext, context, sequence: lane });
    return {
      pipeline,
      lane,
      privateKey: pkcs8Of(key),
      signer: hexOf(signer.publicKey),
      recordKey: Buffer.from(entry.key).toString("utf8"),
      recordValue: hexOf(entry.value),
      envelope: hexOf(envelope),
      plaintext: hexOf(plaintext),
    };
  }),
);

const path = new URL("ours.json", import.meta.url);
writeFileSync(path, `${JSON.stringify({ boxes, dataKeys }, null, 1)}\n`);
