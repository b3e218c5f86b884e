/**
 * What is lost with a key that is not in the folders, in sentences.
 *
 * A key is missed where it should be: all keys of a zone whose identity is here, else its offline keys when one of them
 * is here, and those of its stages when one of them is.
 * Must not: read files or topics, or print.
 */
import type { KeyListing } from "./directory.ts";
import { type KeyRow, type KeysHere, keyRows } from "./key-ceremony-list.ts";
import { hex } from "./key-handles.ts";
import {
  isPurpose,
  type KeyHolder,
  PURPOSES,
  type Purpose,
  SEALED_TOPICS,
  type SealedTopic,
  ZONE_IDENTITY,
} from "./key-purposes.ts";

const OFFLINE: readonly KeyHolder[] = ["identities", "recovery", "dead-letters"];
/** Hex digits of a kid that a person needs to tell keys apart. */
const SHORT = 8;

/** One sentence for every loss; none when everything is where it should be. @param file names the pipeline file */
export function losses(listing: KeyListing, here: KeysHere, file: string): string[] {
  const rows = keyRows(listing, here).filter(
    ({ purpose, state, here: isHere }) =>
      purpose !== "reader" && !isHere && (state === "current" || state === "previous"),
  );
  return [
    ...rows.flatMap((row) => lossOf(row, { listing, here, file })),
    ...secretLosses(here, file),
    ...closedKeys(listing, here),
  ];
}

interface Given {
  readonly listing: KeyListing;
  readonly here: KeysHere;
  readonly file: string;
}

function lossOf(row: KeyRow, given: Given): string[] {
  const { purpose, kid, generation, state } = row;
  if (purpose === "reader" || !isExpected(purpose, given.here)) return [];
  const name = `${purpose} ${kid.slice(0, SHORT)}.. (generation ${generation})`;
  const rotate = `run "sealstream keys rotate ${given.file} ${purpose}"`;
  const restore = "restore it from a backup";
  const { kind, holder } = PURPOSES[purpose];
  // A key that was put away on purpose is missed only for what is still sealed to it.
  const isOld = state === "previous";
  if (row.what === "identity") {
    const zone = ZONE_IDENTITY[row.zone];
    return [
      `${name} is missing: ${row.zone} can publish, rotate and revoke nothing as ${zone}; ${restore}, or pin a new identity in ${given.file}`,
    ];
  }
  if (kind === "ed25519") {
    if (isOld) return [];
    return [
      `${name} is missing: ${holder} cannot start and sign; nothing that it sealed is lost; ${restore}, or ${rotate}`,
    ];
  }
  if (purpose === "ckks-secret") {
    return [
      `${name} is missing: predictions under it are lost, since nobody else can decrypt them; ${restore}${isOld ? "" : `, or ${rotate} for those to come`}`,
    ];
  }
  if (purpose === "consumer-unwrap") {
    return [
      `${name} is missing: predictions under it are lost, since their record ids are sealed to it; ${restore}${isOld ? "" : `, or ${rotate} for those to come`}`,
    ];
  }
  if (holder === "dead-letters") {
    return [
      `${name} is missing: dead letters sealed to it can be neither shown nor replayed; ${restore}${isOld ? "" : `, or ${rotate} for those to come`}`,
    ];
  }
  return unwrapLoss(row, name, { ...given, restore, rotate });
}

/** A key that opens data keys: what they are the keys of, and who else opens them. */
function unwrapLoss(
  { kid, state }: KeyRow,
  name: string,
  { listing, here, restore, rotate }: Given & { restore: string; rotate: string },
): string[] {
  const wrapped = listing.dataKeys.filter(
    ({ payload, trusted }) => trusted && payload.recipients.some((one) => hex(one.kid) === kid),
  );
  const topics = [...new Set(wrapped.map(({ payload }) => payload.topic))];
  if (topics.length === 0) {
    if (state === "previous") return [];
    return [`${name} is missing: no data key is wrapped for it yet; ${restore}, or ${rotate}`];
  }
  return topics.map((topic) => {
    const keys = wrapped.filter(({ payload }) => payload.topic === topic);
    const alone = keys.filter(
      ({ payload }) => !payload.recipients.some((one) => here.kids.has(hex(one.kid))),
    );
    const what = `${counted(keys.length)} of ${topic} (${lanesOf(keys.map(({ payload }) => payload.lane))})`;
    const { recovery } = SEALED_TOPICS[topic];
    const hasRecovery = here.purposes.has(recovery);
    const open =
      alone.length === 0
        ? `${what} are wrapped for it, and another key here opens them`
        : `${what} are wrapped for it, ${alone.length} of which open for nobody else here`;
    const mend =
      alone.length === 0 && hasRecovery
        ? `${restore}, or ${rotate}: ${recovery} is here and wraps them anew`
        : `${restore}, or ${rotate} for records to come`;
    return `${name} is missing: ${open}; ${mend}`;
  });
}

/** Secrets are published nowhere: they are missed when their holder's other keys are here. */
function secretLosses(here: KeysHere, file: string): string[] {
  const lost: string[] = [];
  if (!here.purposes.has("split") && here.purposes.has("owner-signing")) {
    lost.push(
      `split is missing: encrypt cannot start, and without it the same person may change between train, validate and test; restore it from a backup, or run "sealstream keys rotate ${file} split"`,
    );
  }
  if (!here.purposes.has("noise") && here.purposes.has("model-signing")) {
    lost.push(
      `noise is missing: aggregate cannot go on with its run, whose noise must repeat on a retry; restore it from a backup, or change the train section, which starts a new run, and run "sealstream keys rotate ${file} noise"`,
    );
  }
  return lost;
}

/** Data keys that nothing opens: here, or at all. */
function closedKeys(listing: KeyListing, here: KeysHere): string[] {
  const believed = new Set(
    listing.recipients.filter((one) => one.trusted).map(({ recipient }) => hex(recipient.kid)),
  );
  const topics = [...new Set(listing.dataKeys.map(({ payload }) => payload.topic))];
  return topics.flatMap((topic) => {
    const keys = listing.dataKeys.filter((one) => one.trusted && one.payload.topic === topic);
    const closedFor = (kids: ReadonlySet<string>) =>
      keys.filter(({ payload }) => !payload.recipients.some(({ kid }) => kids.has(hex(kid))));
    const isOurs = SEALED_TOPICS[topic].recipients.some(
      (purpose) => purpose !== "reader" && isExpected(purpose, here),
    );
    return [
      ...sentence(topic, isOurs ? closedFor(here.kids) : [], "open for no private key here"),
      ...sentence(
        topic,
        closedFor(new Set([...believed, ...here.kids])),
        "open for nobody whose key is published: unless an old key is restored, their records are lost",
      ),
    ];
  });
}

function sentence(topic: SealedTopic, keys: KeyListing["dataKeys"], what: string): string[] {
  if (keys.length === 0) return [];
  const lanes = lanesOf(keys.map(({ payload }) => payload.lane));
  return [`${counted(keys.length)} of ${topic} (${lanes}) ${what}`];
}

/** Whether a key of this purpose should be in the folders that are here. */
function isExpected(purpose: Purpose, { purposes }: KeysHere): boolean {
  const { zone, holder } = PURPOSES[purpose];
  const present = [...purposes].filter(isPurpose);
  if (purposes.has(ZONE_IDENTITY[zone])) return true;
  const isOffline = (one: Purpose) => OFFLINE.includes(PURPOSES[one].holder);
  return present.some(
    (one) => PURPOSES[one].zone === zone && isOffline(one) === OFFLINE.includes(holder),
  );
}

function counted(count: number): string {
  return count === 1 ? "1 data key" : `${count.toLocaleString("en")} data keys`;
}

/** `lane 2`, `lanes 0-3`, `lanes 0, 2-3`. */
function lanesOf(all: readonly number[]): string {
  const lanes = [...new Set(all)].sort((a, b) => a - b);
  const parts: string[] = [];
  for (let from = 0; from < lanes.length; ) {
    let to = from;
    while (lanes[to + 1] === (lanes[to] ?? 0) + 1) to += 1;
    parts.push(from === to ? `${lanes[from]}` : `${lanes[from]}-${lanes[to]}`);
    from = to + 1;
  }
  return `${lanes.length === 1 ? "lane" : "lanes"} ${parts.join(", ")}`;
}
