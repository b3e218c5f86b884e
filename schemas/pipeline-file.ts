/**
 * The pipeline file: its shape, its defaults and the words an editor shows beside each key.
 *
 * One zod schema is the only description of the file's shape: `pipeline/spec/` checks files with it, and
 * `schemas/generate.ts` writes `schemas/pipeline.schema.json` from it for editors. It says what a file may hold, not
 * what it must mean: checks between keys (a rule's field is in the record schema, the last layer fits the classes)
 * live in `pipeline/spec/`. Must not import any room.
 */
import { z } from "zod";
import { field, rule, rulePath, secret } from "./desensitize-rules.ts";
import { featureMap } from "./feature-maps.ts";
import { pluginList } from "./plugin-list.ts";
import { packs, predict } from "./predict-keys.ts";
import { privacy, train } from "./train-keys.ts";

/** Version of this file format. A file may say `version: 1`; one that does not means the newest. */
export const PIPELINE_FILE_VERSION = 1;

/**
 * The name begins every topic, group and transactional id and is part of file names: lower case, digits and `-`, so
 * that Kafka's own collision of `.` and `_` in metric names cannot happen. 48 leaves room for the longest suffix
 * within Kafka's limit of 249.
 */
const NAME = /^[a-z](?:[a-z0-9-]{0,46}[a-z0-9])?$/;
/** As grants are named in `keys`. */
const GRANT_NAME = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/;
/** 32 bytes in unpadded base64url are 43 characters; the last carries 4 bits, so only every fourth is canonical. */
const IDENTITY = /^ed25519:[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/;

/** The first 16 bytes of SHA-256 of a public key. */
const KEY_ID = /^[0-9a-f]{32}$/;

const integer = (minimum: number, maximum: number) => z.int().min(minimum).max(maximum);
const fraction = z.number().min(0).max(1);
const path = z.string().min(1).max(1024);

/** Paths and user names may say who connects; each stage then has a certificate or user of its own. */
const ROLE_HINT =
  "{role} in it becomes the stage's name, or producer, consumer, reader, operator or replayer for the commands.";

const tls = z
  .union([
    z.literal(true),
    z.strictObject({
      ca: path.optional().describe("Certificate authorities that sign the brokers, PEM."),
      certificate: path.optional().describe(`Client certificate, PEM. ${ROLE_HINT}`),
      privateKey: path.optional().describe(`Its private key, PEM. ${ROLE_HINT}`),
    }),
  ])
  .describe("Encrypt connections: true for the system's certificate authorities.");

const withPassword = <M extends string>(mechanism: M) =>
  z.strictObject({
    mechanism: z.literal(mechanism).describe("How a client proves who it is."),
    username: z.string().min(1).max(256).describe(`User name. ${ROLE_HINT}`),
    password: secret.describe(
      'Where the password is: "env:NAME"; NAME_<ROLE> comes first where it is set.',
    ),
  });

const sasl = z
  .discriminatedUnion("mechanism", [
    withPassword("plain"),
    withPassword("scram-sha-256"),
    withPassword("scram-sha-512"),
    z.strictObject({
      mechanism: z.literal("oauthbearer").describe("A token of an identity provider."),
      tokenEndpoint: z.url().describe("Where tokens are asked for (OAuth 2.0 client credentials)."),
      clientId: z.string().min(1).max(256).describe(`Client id. ${ROLE_HINT}`),
      clientSecret: secret.describe('Where the client secret is: "env:NAME", or NAME_<ROLE>.'),
      scope: z.string().max(1024).optional().describe("Scope to ask for."),
    }),
  ])
  .describe("Who connects: each stage may be a user of its own.");

const kafka = z.strictObject({
  client: z
    .enum(["kafkajs", "confluent"])
    .default("kafkajs")
    .describe("Client library; confluent needs npm install @confluentinc/kafka-javascript."),
  brokers: z
    .union([z.string().max(4096), z.array(z.string().max(300)).max(64)])
    .default("")
    .describe('Brokers as "host:port,host:port" or a list; empty: the embedded broker.'),
  partitions: integer(1, 1024).describe(
    "Partitions of every lane topic: the most instances a stage can use.",
  ),
  replicationFactor: integer(1, 16).default(1).describe("Copies of every topic; 3 on a cluster."),
  compression: z
    .enum(["none", "gzip", "zstd"])
    .default("zstd")
    .describe("Codec of the topics' records."),
  // 6 s and 30 min are the brokers' own default bounds of a group's session timeout.
  sessionTimeoutMs: integer(1000, 1_800_000)
    .default(10_000)
    .describe("A silent instance is replaced after this."),
  // 15 min is the brokers' default transaction.max.timeout.ms.
  transactionTimeoutMs: integer(1000, 900_000)
    .default(60_000)
    .describe("A dead instance's open transaction holds readers back for this long at most."),
  // Docker sends SIGKILL 10 s after SIGTERM unless told otherwise.
  shutdownTimeoutMs: integer(100, 600_000)
    .default(8000)
    .describe("Time to finish and leave after SIGTERM."),
  // Under load a transaction costs about 5 ms of requests: at 25 ms that is a fifth, and a record waits no longer.
  transactionIntervalMs: integer(0, 10_000)
    .default(25)
    .describe(
      "Records that follow each other closely are gathered into one transaction for this long.",
    ),
  whenRecordsExpired: z
    .enum(["stop", "continue"])
    .default("stop")
    .describe(
      "What desensitize, encrypt and predict do when retention removed records that they never read.",
    ),
  tls: tls.optional(),
  sasl: sasl.optional(),
});

const deadLetters = z
  .strictObject({
    // The source documents' data sets have a few percent of unusable rows; half of a lane is a broken producer.
    maxShare: fraction
      .default(0.5)
      .describe("A stage stops when more than this share of a lane's last records is refused."),
    windowRecords: integer(10, 1_000_000)
      .default(1000)
      .describe("Records that the share is taken over."),
    stages: z
      .array(z.enum(["desensitize", "encrypt", "train", "aggregate", "predict"]))
      .max(5)
      .default(["desensitize", "encrypt"])
      .describe(
        "Stages that stop. Those whose input others can write are left out: junk must not stop them.",
      ),
  })
  .prefault({})
  .describe("When refused records are so many that going on makes no sense.");

const record = z.strictObject({
  schema: z
    .string()
    .min(1)
    .max(1024)
    .describe("JSON Schema of a raw record; path relative to this file."),
  id: field.describe("Field that names a record; its rule must be keep or pseudonymize."),
  subject: field
    .optional()
    .describe(
      "Field that names the person; its rule must be keep or pseudonymize. Without it every record is its own subject.",
    ),
  partitioner: z
    .enum(["none", "subject"])
    .default("none")
    .describe(
      "subject: raw is keyed by the subject with Kafka's default partitioner, and a record in another partition is a dead letter.",
    ),
  // 900 KiB: the largest value Sealstream writes, below Kafka's default limit of 1 MB.
  maxBytes: integer(64, 900 * 1024)
    .default(65_536)
    .describe("Larger raw records become dead letters."),
});

const features = z.strictObject({
  inputs: z
    .array(
      z.strictObject({
        field: field.describe("A kept field that holds a number or an array of numbers."),
        length: integer(1, 4096)
          .default(1)
          .describe("Numbers in the field: 1 for a number, else the array's exact length."),
        range: z
          .tuple([z.number(), z.number()])
          .describe(
            "Public fixed range [lowest, highest], scaled to 0..1; a value outside refuses the record.",
          ),
      }),
    )
    .min(1)
    .max(1024)
    .describe("The model's inputs, in order."),
  maps: z
    .array(featureMap)
    .max(8)
    .default([])
    .describe("Fixed public maps from the inputs to what the network reads, one after the other."),
  label: z
    .strictObject({
      field: field.describe("A kept field; a record without it, or with null, is one to predict."),
      classes: integer(2, 1024).describe("Labels are the integers 0 .. classes - 1."),
    })
    .describe("What is learned."),
  split: z
    .strictObject({
      train: fraction.describe("Share that trains."),
      validate: fraction.default(0).describe("Share for choosing settings."),
      test: fraction.default(0).describe("Share kept for the end."),
    })
    .default({ train: 1, validate: 0, test: 0 })
    .describe("Shares of the labelled records, by keyed hash of the subject; they sum to 1."),
});

const recordFields = z
  .strictObject({
    clear: z
      .array(rulePath)
      .max(256)
      .default([])
      .describe("Fields that leave as desensitize made them; nothing protects them from changes."),
    sealed: z
      .array(
        z.strictObject({
          fields: z.array(rulePath).min(1).max(256).describe("Fields that are sealed in place."),
          for: z
            .array(
              z.string().regex(GRANT_NAME, "a name: lower-case letters, digits and -, 32 at most"),
            )
            .min(1)
            .max(16)
            .describe("Names of grants (sealstream keys grant): who can open these fields."),
        }),
      )
      .min(1)
      .max(64)
      .describe("Fields that some can read and others cannot."),
    rotateAfterRecords: integer(1, 2 ** 31)
      .default(100_000)
      .describe("Records sealed with one data key of an audience."),
    rotateAfterMs: integer(1000, 31_536_000_000)
      .default(86_400_000)
      .describe("A data key is replaced after this long."),
  })
  .describe(
    "Desensitized records for other services, in topic records: fields in clear, or sealed for some; a field in neither list is left out.",
  );

const encrypt = z.strictObject({
  examples: z
    .strictObject({
      // AES-GCM allows 2^32 uses of a key with counter nonces; 2^31 keeps half of it in reserve.
      rotateAfterRecords: integer(1, 2 ** 31)
        .default(100_000)
        .describe("Examples sealed with one data key."),
      // A year at most: SP 800-57 part 1 bounds the time that one key protects new data at two.
      rotateAfterMs: integer(1000, 365 * 86_400_000)
        .default(86_400_000)
        .describe("A lane makes a new data key after this long, however few examples it sealed."),
      cipher: z
        .enum(["aes-256-gcm", "chacha20-poly1305"])
        .default("aes-256-gcm")
        .describe(
          "How examples are sealed; chacha20-poly1305 is for machines without AES hardware.",
        ),
    })
    .prefault({})
    .describe("Labelled records, for training."),
  packs,
  records: recordFields.optional(),
});

const identity = z.string().regex(IDENTITY, "an identity, ed25519: and 43 characters of base64url");

/** Two while an identity is being replaced; the third is room for a replacement that is itself replaced. */
const pins = z
  .union([identity, z.array(identity).min(1).max(3)])
  .describe("An identity; a list, the newest first, while one is being replaced.");

export const zoneNames = ["owner", "training", "prediction", "consumer"] as const;

/** The pipeline file as written, before cross checks. Every object is strict: an unknown key is refused. */
export const pipelineFileSchema = z.strictObject({
  version: z
    .literal(PIPELINE_FILE_VERSION)
    .default(PIPELINE_FILE_VERSION)
    .describe("Version of this file format."),
  name: z
    .string()
    .regex(NAME, "lower-case letters, digits and -, 48 at most, beginning with a letter")
    .describe("Name of the pipeline: begins the name of every topic."),
  kafka: kafka.describe("The cluster."),
  deadLetters,
  record: record.describe("What a raw record is."),
  desensitize: z
    .array(rule)
    .min(1)
    .max(256)
    .describe(
      "What happens to each field before a record leaves the owner; a field without a rule never leaves.",
    ),
  plugins: pluginList,
  features: features.describe("From a desensitized record to the model's input."),
  encrypt: encrypt.prefault({}).describe("How records leave the owner's zone."),
  train,
  privacy,
  predict,
  zones: z
    .strictObject({
      owner: pins.optional(),
      training: pins.optional(),
      prediction: pins.optional(),
      consumer: pins.optional(),
    })
    .optional()
    .describe(
      "Pinned Ed25519 identity of each zone, all of them before `run`; `sealstream keys create` writes them.",
    ),
  revoked: z
    .array(z.string().regex(KEY_ID, "the id of a key, 32 hex digits"))
    .max(1024)
    .default([])
    .describe("Keys that are believed no more, by id; `sealstream keys revoke` writes them."),
});

/** The file's content once defaults are in. */
export type PipelineFile = z.output<typeof pipelineFileSchema>;
export type PipelineFileRule = PipelineFile["desensitize"][number];
