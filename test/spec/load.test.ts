/**
 * The pipeline file: defaults, interpolation, bounds, and everything that is refused beside the broken copies.
 */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { formatComplaint, formatPath } from "../../pipeline/spec/complaint.ts";
import { formatIdentity } from "../../pipeline/spec/identity.ts";
import { loadPipelineSpec } from "../../pipeline/spec/load.ts";
import { MAX_FILE_BYTES } from "../../pipeline/spec/located-tree.ts";
import { complaintsOf, edited, exampleSchema, exampleText, load, loadGood } from "./fixtures.ts";

const identity = (byte: number): string => formatIdentity(new Uint8Array(32).fill(byte));
const ZONES = `zones: { owner: "${identity(1)}", training: "${identity(2)}", prediction: "${identity(3)}", consumer: "${identity(4)}" }\n`;

const said = (text: string, env: Record<string, string> = {}): string =>
  complaintsOf(text, env).map(formatComplaint).join("\n");

describe("a good file", () => {
  it("becomes a spec with defaults filled in", () => {
    const spec = loadGood(exampleText);
    expect(spec.kafka).toEqual({
      brokers: [],
      partitions: 4,
      replicationFactor: 1,
      compression: "zstd",
      sessionTimeoutMs: 10_000,
      transactionTimeoutMs: 60_000,
      shutdownTimeoutMs: 8000,
      client: "kafkajs",
      transactionIntervalMs: 25,
      whenRecordsExpired: "stop",
      tls: null,
      sasl: null,
    });
    expect(spec.deadLetters).toEqual({
      maxShare: 0.5,
      windowRecords: 1000,
      stages: ["desensitize", "encrypt"],
    });
    expect(spec.file).toBe("/p/pipeline.yaml");
    expect(spec.record.maxBytes).toBe(65_536);
    expect(spec.record.subject).toBe("email");
    expect(spec.record.schema).toEqual(JSON.parse(exampleSchema));
    expect(spec.desensitize).toEqual([
      { field: "formId", action: "keep" },
      { field: "pixels", action: "keep" },
      { field: "digit", action: "keep" },
      { field: "name", action: "mask", keepFirst: 1, keepLast: 0, with: "*" },
      { field: "phone", action: "mask", keepFirst: 0, keepLast: 2, with: "*" },
      { field: "postcode", action: "mask", keepFirst: 2, keepLast: 0, with: "*" },
      { field: "birthDate", action: "mask", keepFirst: 4, keepLast: 0, with: "*" },
      { field: "email", action: "pseudonymize", key: { env: "PSEUDONYM_KEY" } },
      { field: "note", action: "replace", with: "(removed)" },
    ]);
    expect(spec.train.network).toEqual([
      { dense: 32, activation: "square" },
      { dense: 10, activation: "none" },
    ]);
    expect(spec.train).toMatchObject({ protect: "sealed", maxStalenessUpdates: 0 });
    expect(spec.zones).toBeNull();
  });

  it("warns about unpinned zones and fields without a rule", () => {
    const loaded = load(edited('  - { field: note, action: replace, with: "(removed)" }\n', ""));
    expect(loaded.status).toBe("ok");
    const texts = loaded.status === "ok" ? loaded.warnings.map(formatComplaint) : [];
    expect(texts.join("\n")).toMatch(/desensitize: no rule, so never leaves the zone: note/);
    expect(texts.join("\n")).toMatch(/sealstream keys create/);
  });

  it("reads pinned zones", () => {
    const spec = loadGood(exampleText + ZONES);
    expect(spec.zones?.consumer).toEqual([new Uint8Array(32).fill(4)]);
    expect(spec.revoked).toEqual([]);
  });

  it("makes every record its own subject when none is named", () => {
    expect(loadGood(edited("  subject: email\n", "")).record.subject).toBeNull();
  });

  it("resolves aliases", () => {
    const text = edited("microBatchRecords: 16", "microBatchRecords: &m 64");
    expect(
      loadGood(edited("updateBatchRecords: 64", "updateBatchRecords: *m", text)).train
        .updateBatchRecords,
    ).toBe(64);
  });
});

describe("security of the wire", () => {
  const withKafka = (lines: string): string =>
    edited("  partitions: 4", `  partitions: 4\n  ${lines}`);

  it("reads certificates relative to the file and secrets by reference", () => {
    const { tls, sasl } = loadGood(
      withKafka(
        'tls: { ca: ca.pem, certificate: "tls/{role}.pem", privateKey: "tls/{role}.key" }\n' +
          '  sasl: { mechanism: scram-sha-512, username: "p-{role}", password: "env:KAFKA_PASSWORD" }',
      ),
    ).kafka;
    expect(tls).toEqual({
      ca: "/p/ca.pem",
      certificate: "/p/tls/{role}.pem",
      privateKey: "/p/tls/{role}.key",
    });
    expect(sasl).toEqual({
      mechanism: "scram-sha-512",
      username: "p-{role}",
      password: { env: "KAFKA_PASSWORD" },
    });
  });

  it("takes true for the system's authorities, and a token endpoint", () => {
    const { tls, sasl } = loadGood(
      withKafka(
        'tls: true\n  sasl: { mechanism: oauthbearer, tokenEndpoint: "https://id/token", clientId: c, clientSecret: "env:S" }',
      ),
    ).kafka;
    expect(tls).toEqual({ ca: null, certificate: null, privateKey: null });
    expect(sasl).toEqual({
      mechanism: "oauthbearer",
      tokenEndpoint: "https://id/token",
      clientId: "c",
      clientSecret: { env: "S" },
      scope: null,
    });
  });

  it.each([
    ["tls: { certificate: a.pem }", /kafka.tls: expected certificate and privateKey together/],
    [
      'sasl: { mechanism: plain, username: a, password: "env:P" }',
      /plain sends its secret over the network: expected kafka.tls/,
    ],
    [
      "tls: true\n  sasl: { mechanism: plain, username: a, password: hunter2 }",
      /kafka.sasl.password: expected a reference "env:NAME"/,
    ],
    ["sasl: { mechanism: gssapi }", /kafka.sasl.mechanism: expected one of plain/],
    ["tls: { insecure: true }", /insecure/],
  ])("refuses %j", (lines, says) => {
    expect(said(withKafka(lines))).toMatch(says);
  });
});

describe("interpolation", () => {
  it("takes brokers from the environment, from one text or a list", () => {
    expect(loadGood(exampleText, { KAFKA_BROKERS: "a:9092, [::1]:9093" }).kafka.brokers).toEqual([
      "a:9092",
      "[::1]:9093",
    ]);
    const listed = edited(`"\${KAFKA_BROKERS:}"`, `["b:1", "\${C:c:2}"]`);
    expect(loadGood(listed).kafka.brokers).toEqual(["b:1", "c:2"]);
    expect(said(exampleText, { KAFKA_BROKERS: "a:99999" })).toMatch(
      /kafka.brokers: expected host:port/,
    );
  });

  it("reads numbers where a number is wanted, and keeps text where text is", () => {
    const text = edited("partitions: 4", `partitions: "\${PARTITIONS:2}"`);
    expect(loadGood(text).kafka.partitions).toBe(2);
    expect(loadGood(text, { PARTITIONS: "8" }).kafka.partitions).toBe(8);
    expect(said(text, { PARTITIONS: "0x8" })).toMatch(/kafka.partitions: expected a number/);
    const note = edited('with: "(removed)"', `with: "\${NOTE:7}"`);
    expect(loadGood(note).desensitize.at(-1)).toMatchObject({ with: "7" });
  });

  it("complains about a variable that is not set, and never repeats what is", () => {
    const text = edited("name: digits", `name: \${NAME}`);
    expect(said(text)).toMatch(/pipeline.yaml:\d+:7 name: environment variable NAME is not set/);
    const message = said(text, { NAME: "SECRET VALUE" });
    expect(message).toMatch(/name: expected lower-case/);
    expect(message).not.toMatch(/SECRET/);
    const action = edited("action: replace", `action: "\${A:encrypt}"`);
    expect(said(action)).not.toMatch(/encrypt/);
  });

  it("cannot change the structure, and can be escaped", () => {
    const text = edited('with: "(removed)"', `with: "\${NOTE}"`);
    expect(loadGood(text, { NOTE: "x }\nevil: 1" }).desensitize.at(-1)).toMatchObject({
      with: "x }\nevil: 1",
    });
    const escaped = edited('with: "(removed)"', `with: "$\${NOTE} \${A:1}\${B:}"`);
    expect(loadGood(escaped).desensitize.at(-1)).toMatchObject({ with: `\${NOTE} 1` });
    expect(said(edited('with: "(removed)"', `with: "\${not a name}"`))).toMatch(
      /expected \$\{NAME\}/,
    );
  });
});

describe("what does not fit together", () => {
  const cases: [string, string, string, RegExp][] = [
    [
      "two rules for one field",
      "fields: [formId, pixels, digit]",
      "fields: [formId, pixels, digit, note]",
      /desensitize\[6\].field: 'note' has a rule above/,
    ],
    [
      "field and fields",
      "{ field: name,",
      "{ field: name, fields: [note],",
      /desensitize\[1\]: expected either field or fields/,
    ],
    [
      "an id without a rule",
      "fields: [formId, pixels, digit]",
      "fields: [pixels, digit]",
      /record.id: 'formId' needs the rule keep or pseudonymize; it has none/,
    ],
    [
      "an id outside the schema",
      "id: formId",
      "id: form",
      /record.id: 'form' is not in the record schema/,
    ],
    [
      "an id that is no text",
      "id: formId",
      "id: digit",
      /record.id: expected a field of type string/,
    ],
    [
      "a feature that is not kept",
      "fields: [formId, pixels, digit]",
      "fields: [formId, digit]",
      /features.inputs\[0\].field: 'pixels' needs the rule keep/,
    ],
    [
      "a label that is not kept",
      "fields: [formId, pixels, digit]",
      "fields: [formId, pixels]",
      /features.label.field: 'digit' needs the rule keep/,
    ],
    [
      "a feature of the wrong type",
      "length: 64, ",
      "",
      /expected type number or integer in the record schema, found array/,
    ],
    [
      "a label among the features",
      "field: pixels, length: 64",
      "field: digit",
      /features.label.field: 'digit' is used above/,
    ],
    [
      "a mask on numbers",
      "{ field: name, action: mask, keepFirst: 1 }",
      "{ field: pixels, action: mask }",
      /mask needs text/,
    ],
    [
      "a clip below what float32 carries",
      "l2ClipNorm: 1",
      "l2ClipNorm: 0.01",
      /l2ClipNorm: expected at least 0.015625, found 0.01/,
    ],
    ["an empty range", "range: [0, 16]", "range: [16, 16]", /lowest below highest/],
    [
      "a range of three",
      "range: [0, 16]",
      "range: [0, 8, 16]",
      /range: expected at most 2 entries, found 3/,
    ],
    [
      "no training share",
      "train: 0.9, validate: 0.1",
      "train: 0, validate: 1",
      /features.split.train: expected more than 0/,
    ],
    [
      "a last layer with an activation",
      "{ dense: 10 }",
      "{ dense: 10, activation: square }",
      /the last layer has no activation/,
    ],
    [
      "a hidden layer without one",
      ", activation: square",
      "",
      /a hidden layer needs an activation, such as square/,
    ],
    [
      "a name that no topic can have",
      "name: digits",
      "name: my_digits",
      /name: expected lower-case letters/,
    ],
    [
      "a mask of two characters",
      "keepFirst: 1 }",
      'keepFirst: 1, with: "**" }',
      /with: expected one printable character/,
    ],
    ["a lone surrogate", '"(removed)"', '"\\uD800"', /with: expected well-formed text/],
    ["a key twice", "name: digits", "name: digits\nname: digits", /unique/],
    ["a custom tag", "name: digits", "name: !secret digits", /tag/i],
    [
      "a merge key",
      "privacy: { epsilon: 3, delta: 1e-5 }",
      "privacy: { <<: { epsilon: 3 }, delta: 1e-5 }",
      /unknown key '<<'/,
    ],
    ["an alias without its anchor", "partitions: 4", "partitions: *four", /alias/i],
    [
      "another version of the format",
      "name: digits",
      "version: 2\nname: digits",
      /version: expected 1, found 2/,
    ],
    ["a prototype", "name: digits", "name: digits\n__proto__: { a: 1 }", /unknown key '__proto__'/],
  ];
  it.each(cases)("%s", (_what, from, to, says) => {
    expect(said(edited(from, to))).toMatch(says);
  });

  it("two zones with one identity", () => {
    const text = exampleText + ZONES.replace(identity(2), identity(1));
    expect(said(text)).toMatch(/zones.training: expected another identity than zone owner/);
  });

  it("an identity that is none", () => {
    expect(said(exampleText + ZONES.replace(identity(2), "ed25519:AAAA"))).toMatch(
      /zones.training: expected an identity/,
    );
    // 43 characters whose last carries bits that 32 bytes do not have
    expect(said(exampleText + ZONES.replace(identity(2), `ed25519:${"A".repeat(42)}B`))).toMatch(
      /zones.training/,
    );
  });

  it("names every fault of one kind at once, in file order", () => {
    const lines = complaintsOf(
      edited("partitions: 4", "partitions: none", edited("epsilon: 3", "epsilon: -1")),
    ).map((complaint) => complaint.line);
    expect(lines).toHaveLength(2);
    expect(lines).toEqual(lines.toSorted((a, b) => a - b));
  });
});

describe("files that are hardly files", () => {
  it("refuses size, encoding, emptiness, several documents and a scalar", () => {
    expect(said(`# ${"x".repeat(MAX_FILE_BYTES)}`)).toMatch(/expected at most 262144 bytes/);
    const latin = complaintsOf(Uint8Array.of(0x61, 0x3a, 0x20, 0xe9));
    expect(latin[0]?.message).toBe("expected UTF-8 text");
    expect(said("")).toMatch(/1:1/);
    expect(said("--- 1\n--- 2\n")).toMatch(/:2:\d+ expected one YAML document/);
    expect(said("hello")).toMatch(/expected keys and values/);
    expect(said("? [a]\n: 1\n")).toMatch(/1:/);
  });

  it("survives a billion laughs, deep nesting and alias loops", () => {
    const laughs = Array.from(
      { length: 30 },
      (_, i) => `a${i}: &a${i} [${Array(9).fill(i === 0 ? "x" : `*a${i - 1}`)}]`,
    );
    expect(said(laughs.join("\n"))).toMatch(/values and \d+ aliases/);
    expect(said("[".repeat(100_000))).toMatch(/./);
    expect(said(`a: ${"[".repeat(40)}${"]".repeat(40)}`)).toMatch(/nested at most 32 deep/);
    const many = `a: &a [${"0,".repeat(20_000)}0]\nb: [*a, *a, *a]`;
    expect(said(many)).toMatch(/:2:9 b\[1\]\S*: expected at most 50000 values/);
    expect(said("a: &a [*a]")).toMatch(/./);
  });

  it("a file that is not there", () => {
    const loaded = loadPipelineSpec({ path: "nowhere.yaml", env: {}, readFile: readFileSync });
    expect(loaded).toMatchObject({
      status: "invalid",
      complaints: [{ file: "nowhere.yaml", line: 1 }],
    });
  });
});

describe("paths", () => {
  it("are written as a person would", () => {
    expect(formatPath(["a", 2, "b", "c d", 0])).toBe('a[2].b["c d"][0]');
    expect(formatPath([])).toBe("");
  });
});
