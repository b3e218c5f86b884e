/**
 * Stage `encrypt`: the last one in the owner's zone. Desensitized records become vectors; labelled ones are sealed one
 * by one for the training zone, unlabelled ones share CKKS slots under the consumer's public key. Both also go to other
 * services, field by field, where the pipeline file says so.
 *
 * Everything is handed in: keys, the view of `keys`, the packing, randomness. Must not know Kafka or node-seal, and must
 * hold no key that opens what it seals beyond the data key in use.
 */
import type { KeyDirectory } from "../../crypto/directory.ts";
import type { SecretKey, SigningKey } from "../../crypto/key-handles.ts";
import type { Kms } from "../../crypto/kms/kms.ts";
import type { Recipient } from "../../crypto/wrap/types.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import type {
  ChangelogEntry,
  LaneBounds,
  LaneProcessor,
  Outcome,
  OutputRecord,
  Stage,
  StepResult,
  StreamRecord,
} from "../../stream/contract.ts";
import { fillsLane } from "../../stream/record-window.ts";
import { type Cut, decideCut } from "./cut.ts";
import { type ExampleRow, sealExamples } from "./example-sealer.ts";
import { type OwnerPacking, type PredictRow, type SealedPack, sealPack } from "./pack-sealer.ts";
import { audiencesOf, type GrantView, type RecordAudiences } from "./record-audiences.ts";
import { sealRecords } from "./record-sealer.ts";
import { createRowReader, type Row, type RowReader } from "./row.ts";
import { type EncryptState, encodeState, restoreState } from "./state.ts";
import { createSubjectLimit } from "./subject-limit.ts";

export interface EncryptOptions {
  readonly spec: PipelineSpec;
  /** View of `keys`: the training zone's and the consumer's public keys. */
  readonly directory: Pick<KeyDirectory, "recipient" | "recipientsFor"> & GrantView;
  /** Key `owner-signing`. */
  readonly signer: SigningKey;
  /** Key `split`: also of the counts of subjects. */
  readonly splitSecret: Pick<SecretKey, "hmac">;
  /** How packs are made under the consumer's keys as they are now; null: they are not known yet. */
  readonly packing: () => OwnerPacking | null;
  /** Most records that a pack will have under any keys: sizes what a lane may hold. */
  readonly mostPackRecords: number;
  /** Wraps data keys of records for grants of keys in a service. */
  readonly kms?: Kms | undefined;
  /** CSPRNG. */
  readonly random: (bytes: number) => Uint8Array;
  /** A pack was made; its transaction may still be thrown away. `bytes`: of its ciphertexts. */
  readonly onPack?: (pack: { lane: number; rows: number; bytes: number }) => void;
  /** Subjects that a lane counts, and the memory of it; with each step, whose transaction may still be thrown away. */
  readonly onSubjects?: (counts: { lane: number; subjects: number; memoryBytes: number }) => void;
  /** Names for which fields are to be sealed but of which nothing is known; records wait while there is one. */
  readonly onMissingGrants?: (names: readonly string[]) => void;
  /** Other zones' keys that are not published or no longer believed: what is for them waits while there is one. */
  readonly onMissingKeys?: (purposes: readonly string[]) => void;
}

/** How long to wait before looking again for keys that are not published yet. */
const MISSING_KEY_WAIT_MS = 200;
/** A lane can hold this many packs' worth of records: enough to fill packs when one record in eight is unlabelled. */
const WINDOW_PACKS = 8;
const MIN_WINDOW_RECORDS = 8192;
/** Or as many as make 32 MiB of features: records that are not final wait as what the network reads. */
const WINDOW_NUMBERS = 8 * 1024 * 1024;
/** Rows that are read between turns of the event loop: maps take up to milliseconds each. */
const ROWS_A_TURN = 64;
const WINDOW_BYTES = 32 * 1024 * 1024;

/** Makes the stage. */
export function createEncryptStage(options: EncryptOptions): Stage<EncryptState> {
  const { splitSecret, spec } = options;
  const fewest = Math.floor(WINDOW_NUMBERS / spec.features.outputs.length);
  const bounds: LaneBounds = {
    maxRecords: Math.max(
      WINDOW_PACKS * options.mostPackRecords,
      Math.min(MIN_WINDOW_RECORDS, fewest),
    ),
    maxBytes: WINDOW_BYTES,
  };
  const reader = createRowReader(spec, (message) => splitSecret.hmac(message));
  return {
    name: "encrypt",
    bounds,
    openLane: (lane) => openLane(lane, reader, bounds, options),
  };
}

function openLane(
  lane: number,
  reader: RowReader,
  bounds: LaneBounds,
  options: EncryptOptions,
): LaneProcessor<EncryptState> {
  const most = options.spec.privacy.recordsPerSubject;
  const limit = most === null ? null : createSubjectLimit(most);
  // Rows of records that are not final: each is read once, and remembers when it was first seen.
  let seen = new Map<number, Row>();

  async function readRows(records: readonly StreamRecord[], nowMs: number): Promise<Row[]> {
    const rows = new Map<number, Row>();
    let read = 0;
    for (const record of records) {
      let row = seen.get(record.offset);
      if (row === undefined) {
        row = reader.read(record, nowMs);
        read += 1;
        if (reader.isSlow && read % ROWS_A_TURN === 0) await turn();
      }
      rows.set(record.offset, row);
    }
    seen = rows;
    return [...rows.values()];
  }

  return {
    ...(limit === null ? {} : { restoreEntry: limit.restoreEntry }),
    restore(changelog) {
      const state = restoreState(changelog);
      limit?.check(state);
      return state;
    },
    encode: encodeState,
    async process(records, state, nowMs) {
      const rows = await readRows(records, nowMs);
      const keys = availableKeys(options);
      options.onMissingKeys?.(keys.missing);
      if (keys.records !== null) options.onMissingGrants?.(keys.records.missing);
      const cut = decideCut(rows, {
        slotsPerPack: keys.consumer?.packing.packRecords ?? options.mostPackRecords,
        lingerMs: options.spec.encrypt.packs.lingerMs,
        nowMs,
        windowFull: fillsLane(records, bounds),
        canSeal: keys.examples !== null,
        canPack: keys.consumer !== null,
        canRecord: keys.records === null || keys.records.missing.length === 0,
      });
      const final = rows.slice(0, cut.count);
      const limited = limit?.limit(final, state) ?? { rows: final, entries: [], state };
      if (limit !== null) {
        const subjects = limited.state.subjects?.subjects ?? 0;
        options.onSubjects?.({ lane, subjects, memoryBytes: limit.memoryBytes });
      }
      const done = limited.rows;
      const made = await encryptRows(done, limited.state, { lane, keys, reader, options, nowMs });
      const good = records.filter(
        (_record, index) => (done[index]?.kind ?? "refused") !== "refused",
      );
      const shared = await shareRecords(good, made.state, { lane, keys, options, nowMs });
      const outputs = [...made.outputs, ...shared.outputs];
      const { entries } = limited;
      return toResult(records, done, cut, { outputs, entries, state: shared.state, nowMs });
    },
  };
}

/** Lets the process answer others. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

interface AvailableKeys {
  readonly examples: readonly Recipient[] | null;
  readonly consumer: { readonly recipient: Recipient; readonly packing: OwnerPacking } | null;
  /** Null: the file has no `encrypt.records`. */
  readonly records: RecordAudiences | null;
  /** Names of what is wanted for examples and packs and not there. */
  readonly missing: readonly string[];
}

function availableKeys({ directory, packing: packingNow, spec }: EncryptOptions): AvailableKeys {
  const recipient = directory.recipient("consumer-unwrap");
  const packing = packingNow();
  const examples = directory.recipientsFor("examples");
  return {
    missing: [
      ...(examples === null ? ["training-unwrap"] : []),
      ...(recipient === null && spec.predict.encrypted ? ["consumer-unwrap"] : []),
      ...(packing === null && spec.predict.encrypted ? ["ckks-public"] : []),
    ],
    examples,
    consumer: recipient === null || packing === null ? null : { recipient, packing },
    records: spec.encrypt.records && audiencesOf(spec.encrypt.records, directory),
  };
}

interface Made {
  readonly outputs: readonly OutputRecord[];
  readonly state: EncryptState;
}

async function encryptRows(
  rows: readonly Row[],
  state: EncryptState,
  by: {
    lane: number;
    keys: AvailableKeys;
    reader: RowReader;
    options: EncryptOptions;
    nowMs: number;
  },
): Promise<Made> {
  const { lane, keys, reader, options, nowMs } = by;
  const { spec, signer, kms } = options;
  const examples = rows.filter((row): row is ExampleRow => row.kind === "example");
  const waiting = rows.filter((row): row is PredictRow => row.kind === "predict");
  let pack: SealedPack | null = null;
  if (keys.consumer !== null && waiting.length > 0) {
    pack = await sealPack(waiting, {
      pipeline: spec.name,
      lane,
      sequence: state.packSequence,
      features: reader.features,
      maxBytesPerRecord: spec.encrypt.packs.maxBytesPerRecord,
      signer,
      packing: keys.consumer.packing,
      recipient: keys.consumer.recipient,
      random: options.random,
    });
    options.onPack?.({ lane, rows: waiting.length, bytes: pack.bytes });
  }
  const packed = pack === null ? state : { ...state, packSequence: state.packSequence + 1 };
  if (keys.examples === null || examples.length === 0) {
    return { outputs: pack?.outputs ?? [], state: packed };
  }
  const sealed = await sealExamples(examples, packed, {
    pipeline: spec.name,
    lane,
    signer,
    recipients: keys.examples,
    recordsPerSubject: spec.privacy.recordsPerSubject,
    ...spec.encrypt.examples,
    nowMs,
    kms,
  });
  return { outputs: [...sealed.outputs, ...(pack?.outputs ?? [])], state: sealed.state };
}

/** The same records for other services, where the file asks for it. */
async function shareRecords(
  records: readonly StreamRecord[],
  state: EncryptState,
  by: { lane: number; keys: AvailableKeys; options: EncryptOptions; nowMs: number },
): Promise<Made> {
  const { spec, signer, kms } = by.options;
  const { records: fields } = spec.encrypt;
  const audiences = by.keys.records?.recipients;
  if (fields === null || audiences === undefined) return { outputs: [], state };
  const { lane, nowMs } = by;
  return sealRecords(records, state, {
    ...{ pipeline: spec.name, lane, signer, kms },
    ...{ fields, audiences, nowMs },
  });
}

function toResult(
  records: readonly StreamRecord[],
  done: readonly Row[],
  cut: Cut,
  {
    outputs,
    entries,
    state,
    nowMs,
  }: Made & { readonly entries: readonly ChangelogEntry[]; readonly nowMs: number },
): StepResult<EncryptState> {
  const last = records[cut.count - 1];
  const outcomes: Outcome[] = [];
  for (const { offset, ...row } of done) {
    if (row.kind === "refused") outcomes.push({ offset, kind: "dead-letter", reason: row.reason });
    if (row.kind === "dropped") outcomes.push({ offset, kind: "drop", reason: "dropped" });
    if (row.kind === "above-limit")
      outcomes.push({ offset, kind: "drop", reason: "subject-limit" });
  }
  const wakes = [cut.dueMs, cut.blockedAt === null ? null : nowMs + MISSING_KEY_WAIT_MS];
  const times = wakes.filter((time) => time !== null);
  return {
    outputs,
    outcomes,
    state,
    entries,
    consumedTo: last === undefined ? null : last.offset + 1,
    wakeAtMs: times.length === 0 ? null : Math.min(...times),
  };
}
