/**
 * `sealstream keys grant FILE --topic TOPIC --name NAME --public-key KEY`: lets a third party open a topic.
 *
 * The owner signs it; stages seal for it from the next data key on. What was sealed before is not touched: its data keys
 * are wrapped for the third party too, unless `--from-now`.
 */
import { existsSync, readFileSync } from "node:fs";
import type { KeyListing } from "../../crypto/directory.ts";
import { readerFrom } from "../../crypto/key-ceremony-halves.ts";
import { keysHere } from "../../crypto/key-ceremony-list.ts";
import { signEntry } from "../../crypto/key-entries.ts";
import type { KeyFile } from "../../crypto/key-file.ts";
import { hex } from "../../crypto/key-handles.ts";
import { isGrantName } from "../../crypto/key-payload.ts";
import {
  GRANT_TOPICS,
  type GrantTopic,
  isGrantTopic,
  zoneOfTopic,
} from "../../crypto/key-purposes.ts";
import type { Recipient } from "../../crypto/wrap/types.ts";
import { SealstreamError } from "../../errors.ts";
import { type CommandContext, EXIT } from "../context.ts";
import type { Options } from "../options.ts";
import { type Ceremony, identityOf, withCeremony } from "./ceremony.ts";
import { publishAndCatchUp, rewraps } from "./rewrap.ts";

/** An SPKI of RSA with 8,192 bits takes 1.5 KB in PEM. */
const MAX_PEM_BYTES = 64 * 1024;

export function grant(context: CommandContext, file: string, options: Options): Promise<number> {
  const topic = grantTopicOption(options["topic"]);
  const name = nameOption(options["name"]);
  const recipient = publicKeyOption(options["publicKey"]);
  const isFromNow = options["fromNow"] === true;
  return withCeremony(context, { file, options }, async (ceremony) => {
    const { directory, spec } = ceremony;
    const signer = identityOf(ceremony, zoneOfTopic(topic));
    const generation = nextGeneration(ceremony, topic, name, recipient);
    const { algorithm, publicKey } = recipient;
    const payload = { type: "grant", generation, topic, name, algorithm, publicKey } as const;
    const entry = signEntry({ pipeline: spec.name, payload, signer });
    if (directory.apply(entry.key, entry.value) === "refused") {
      throw new SealstreamError(
        "key-forbidden",
        `The grant would be refused by its readers: ${topic} has too many, or the identity here is not the one that ${file} pins.`,
      );
    }
    const wanted = { topics: [topic], add: isFromNow ? [] : [name] };
    const renewed = isFromNow ? [] : await rewraps(ceremony, wanted);
    const late = isFromNow
      ? await ceremony.publish([entry]).then(() => 0)
      : await publishAndCatchUp(ceremony, [entry, ...renewed], wanted);
    context.print(
      `${name} may read ${topic} with ${hex(recipient.kid)}; ${renewed.length + late} data keys wrapped for it`,
    );
    context.tell(
      isFromNow
        ? "It opens what is sealed under data keys that are made from now on; nothing before."
        : "Data keys that a stage announces while it hears of the grant come with the next call of this command.",
    );
    return EXIT.ok;
  });
}

/**
 * The grant's own generation when this key has it already, else the next one.
 * @throws `key-forbidden` for a revoked key, and for one that is somebody else's
 */
function nextGeneration(
  ceremony: Ceremony,
  ...[topic, name, { kid }]: [GrantTopic, string, Recipient]
): number {
  const listing = ceremony.directory.list();
  const { recipients, revoked } = listing;
  assertReadersOwn(listing, ceremony.files, { name, kid: hex(kid) });
  if (revoked.includes(hex(kid))) {
    throw new SealstreamError(
      "key-forbidden",
      `The key ${hex(kid)} was revoked, which is for ever: ask ${name} for a new one.`,
    );
  }
  const known = recipients.filter(
    ({ of }) => "name" in of && of.topic === topic && of.name === name,
  );
  const current = known.find((one) => one.current && hex(one.recipient.kid) === hex(kid));
  return current?.generation ?? Math.max(0, ...known.map((one) => one.generation)) + 1;
}

/** Revoking a reader revokes its key, whatever else that is: so one that is published for anything else is refused. */
function assertReadersOwn(
  { signers, recipients }: KeyListing,
  files: readonly KeyFile[],
  { name, kid }: { readonly name: string; readonly kid: string },
): void {
  const others = recipients
    .filter(({ recipient }) => hex(recipient.kid) === kid)
    .flatMap(({ of }) => ("purpose" in of ? [of.purpose] : of.name === name ? [] : [of.name]));
  const isOurs = signers.some((one) => one.kid === kid) || keysHere(files).kids.has(kid);
  const [other] = isOurs ? [...others, "a zone of this pipeline"] : others;
  if (other === undefined) return;
  throw new SealstreamError(
    "key-forbidden",
    `The key ${kid} is the key of ${other} already: ask ${name} for one that is its own.`,
  );
}

/** @throws `usage` */
export function grantTopicOption(value: unknown): GrantTopic {
  if (typeof value === "string" && isGrantTopic(value)) return value;
  throw new SealstreamError("usage", `Say which topic: --topic ${GRANT_TOPICS.join(" or ")}.`);
}

/** @throws `usage` */
export function nameOption(value: unknown): string {
  if (typeof value === "string" && isGrantName(value)) return value;
  throw new SealstreamError(
    "usage",
    "Say who: --name with 1 to 32 letters a-z, digits and hyphens.",
  );
}

/** @throws `usage` without one, `key-invalid` for what nothing can be wrapped for */
function publicKeyOption(value: unknown): Recipient {
  if (typeof value !== "string" || value === "") {
    throw new SealstreamError(
      "usage",
      "Say with which key: --public-key with a PEM file (SPKI of X25519, P-256 or RSA), or vault:PATH.",
    );
  }
  if (/^[a-z][a-z0-9-]{1,31}:/.test(value) && !existsSync(value)) {
    return readerFrom(value, "--public-key");
  }
  let pem: Buffer;
  try {
    pem = readFileSync(value);
  } catch (cause) {
    throw new SealstreamError("key-missing", `${value} cannot be read.`, { cause });
  }
  const text = pem.toString("latin1");
  if (pem.length > MAX_PEM_BYTES || !text.includes("-----BEGIN ")) {
    throw new SealstreamError("key-invalid", `${value} is no public key in PEM (SPKI).`);
  }
  return readerFrom(text, value);
}
