/**
 * Every technique of `desensitize` on a real broker, with a pipeline file as a user writes it (examples/clinic): nested
 * records, arrays, free text and groups of five, while the stage is killed.
 */
import { createHash, createHmac, randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { type Visit, visits } from "../../examples/clinic/records.ts";
import { createMarkerScan } from "../../examples/digits/marker-scan.ts";
import type { StreamRecord } from "../../pipeline/stream/contract.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { readTopic } from "../../pipeline/stream/tail.ts";
import { topicName } from "../../schemas/topics.ts";
import { connect, readAll, until } from "../lib/kafka.ts";
import { makePipeline, type TestPipeline, untilStages } from "../lib/pipeline.ts";

const LANES = 2;
const K = 5;
const VISITS = 1500;
const BAD = 4;
const PSEUDONYM_KEY = randomBytes(32);
const text = new TextDecoder();

/** What leaves of a visit, as far as this test reads it. */
interface Left {
  readonly visitId: string;
  readonly patientId: string;
  readonly patient: {
    readonly name: string;
    readonly phone: string;
    readonly email: string;
    readonly insuranceNumber: string;
    readonly birthDate: string;
    readonly heightCm: string;
    readonly address: { readonly postcode: string; readonly city: string };
  };
  readonly diagnosis: string;
  readonly invoices: readonly { readonly iban: string; readonly amount: string }[];
  readonly [field: string]: unknown;
}

let client: KafkaClient;
let pipeline: TestPipeline;
let sent: Map<string, Visit>;
/** By lane, in order. */
let left: Left[][];
/** Including what aborted transactions wrote. */
let everWritten: Left[][];

const parse = ({ value }: StreamRecord): Left =>
  JSON.parse(text.decode(value ?? new Uint8Array(0)));

async function readUncommitted(topic: string): Promise<StreamRecord[][]> {
  const lanes: StreamRecord[][] = [];
  for (let partition = 0; partition < LANES; partition++) {
    const records: StreamRecord[] = [];
    const apply = (record: StreamRecord) => void records.push(record);
    await readTopic({ client, topic, partition, apply, isolation: "uncommitted" });
    lanes.push(records);
  }
  return lanes;
}

beforeAll(async () => {
  client = await connect(inject("brokers"));
  pipeline = await makePipeline(
    inject("brokers"),
    // Windows are cut by time as well as by number, and an instance that dies is replaced soon.
    (file) =>
      file
        .replace("maxDelayMs: 1000", "maxDelayMs: 300")
        .replace("partitions: 2", "partitions: 2\n  sessionTimeoutMs: 6000"),
    {
      example: "clinic",
      environment: {
        PSEUDONYM_KEY: PSEUDONYM_KEY.toString("hex"),
        INSURANCE_KEY: randomBytes(32).toString("hex"),
      },
    },
  );
  const all = visits(VISITS, 400, 5);
  sent = new Map(all.map((visit) => [visit.visitId, visit]));
  const stages = pipeline.start(["--stage", "desensitize"]);
  await untilStages(stages, "the stage works", () => stages.reports().has("desensitize"));
  const produce = (from: number, to: number) =>
    pipeline.produce(all.slice(from, to).map((visit) => JSON.stringify(visit)));
  const outputs = async () =>
    (await readAll(client, topicName(pipeline.name, "desensitized"), LANES)).flat().length;
  const kill = async () => {
    const pid = stages.pid("desensitize");
    process.kill(pid ?? -1, "SIGKILL");
    await until("the stage was started again", () => stages.pid("desensitize") !== pid);
  };
  await produce(0, 500);
  await until("something has left", async () => (await outputs()) > 0);
  await kill();
  await produce(500, 1000);
  await untilStages(stages, "more has left", async () => (await outputs()) >= 600);
  await kill();
  const [good] = all;
  await pipeline.produce([
    JSON.stringify({
      ...good,
      visitId: "bad-1",
      patient: { ...(good?.["patient"] as object), birthDate: "30.06.1954" },
    }),
    JSON.stringify({ ...good, visitId: "bad-2", weightKg: "heavy" }),
    JSON.stringify({ ...good, visitId: "bad-3", ward: "A" }),
    JSON.stringify({
      ...good,
      visitId: "bad-4",
      patient: { birthDate: "1954-06-30", address: { postcode: "1" } },
    }),
  ]);
  await produce(1000, VISITS);
  await untilStages(stages, "everything has left", async () => (await outputs()) >= VISITS);
  await untilStages(
    stages,
    "the bad ones are dead letters",
    async () =>
      (await readAll(client, `${topicName(pipeline.name, "raw")}.dead`, LANES)).flat().length >=
      BAD,
  );
  await stages.stop();
  const topic = topicName(pipeline.name, "desensitized");
  left = (await readAll(client, topic, LANES)).map((lane) => lane.map(parse));
  everWritten = (await readUncommitted(topic)).map((lane) => lane.map(parse));
}, 180_000);

afterAll(async () => {
  pipeline?.remove();
  await client?.close();
});

const raw = ({ visitId }: Left): Visit => {
  const visit = sent.get(visitId);
  if (visit === undefined) throw new Error(`nobody sent ${visitId}`);
  return visit;
};
const hmac = (value: string) => createHmac("sha256", PSEUDONYM_KEY).update(value).digest();
const patientOf = (visit: Visit) => visit["patient"] as Record<string, string>;

describe("every technique, on a real broker", () => {
  it("lets every visit out exactly once, and only the fields that rules name", () => {
    expect(
      left
        .flat()
        .map(({ visitId }) => visitId)
        .sort(),
    ).toEqual([...sent.keys()].sort());
    for (const visit of left.flat()) {
      const names = Object.keys(raw(visit)).filter(
        (name) => !["internalRemark", "recordedBy"].includes(name),
      );
      expect(Object.keys(visit)).toEqual(names);
      expect(Object.keys(visit.patient.address)).toEqual(["postcode", "city"]);
    }
  });

  it("pseudonymizes, hashes, masks, generalizes and replaces as the file says", () => {
    const names = new Map<string, string>();
    for (const visit of left.flat()) {
      const before = raw(visit);
      const patient = patientOf(before);
      expect(visit.patientId).toBe(
        `k1:${hmac(before.patientId).subarray(0, 16).toString("base64url")}`,
      );
      expect(visit["deviceId"]).toBe(
        createHash("sha256").update(String(before["deviceId"])).digest("hex"),
      );
      expect(visit["diagnosis"]).toBe(before.diagnosis);
      expect(visit["vitals"]).toEqual(before["vitals"]);
      const doctor = String(before["doctor"]);
      expect(visit["doctor"]).toBe(`D${"*".repeat([...doctor].length - 1)}`);
      expect(visit["admittedOn"]).toBe(String(before["admittedOn"]).slice(0, 7));
      expect(visit["ward"]).toBe(String(before["ward"]).slice(0, 1));
      const days = Number(before["stayDays"]);
      expect(visit["stayDays"]).toBe(days < 1 ? "<1" : days < 3 ? "1-2" : days < 8 ? "3-7" : "8+");
      const height = Math.floor(Number(patient["heightCm"]) / 10) * 10;
      expect(visit.patient.heightCm).toBe(`${height}-${height + 9}`);
      expect(visit.patient.email).toBe("(removed)");
      expect(["Brandenburg", "North", "Rhineland", "Bavaria"]).toContain(
        visit.patient.address.city,
      );
      const name = names.get(String(patient["name"])) ?? visit.patient.name;
      expect(visit.patient.name).toBe(name);
      names.set(String(patient["name"]), name);
      expect(visit.patient.phone.replace(/\d/g, "0")).toBe(
        String(patient["phone"]).replace(/\d/g, "0"),
      );
      expect(visit.patient.phone).not.toBe(patient["phone"]);
      for (const [i, { iban, amount }] of visit.invoices.entries()) {
        const invoice = (before["invoices"] as { iban: string; amount: number }[])[i];
        expect(iban).toBe(
          `${"*".repeat((invoice?.iban.length ?? 4) - 4)}${invoice?.iban.slice(-4)}`,
        );
        const low = Math.floor((invoice?.amount ?? 0) / 100) * 100;
        expect(amount).toBe(`${low}-${low + 99}`);
      }
      const weight = Number(before["weightKg"]);
      expect(Math.abs(Number(visit["weightKg"]) - weight)).toBeLessThanOrEqual(5.5);
    }
    expect(new Set(names.values()).size).toBeGreaterThan(10);
    expect(
      left.flat().some((visit) => visit["weightKg"] !== Math.round(Number(raw(visit)["weightKg"]))),
    ).toBe(true);
  });

  it("encrypts insurance numbers to others, one to one", () => {
    const pairs = left
      .flat()
      .map((visit) => [patientOf(raw(visit))["insuranceNumber"], visit.patient.insuranceNumber]);
    expect(pairs.every(([, after]) => /^[0-9]{10}$/.test(String(after)))).toBe(true);
    expect(new Set(pairs.map(String)).size).toBe(new Set(pairs.map(([before]) => before)).size);
    expect(new Set(pairs.map(([, after]) => after)).size).toBe(
      new Set(pairs.map(([before]) => before)).size,
    );
  });

  it("takes personal data out of free text", () => {
    for (const visit of left.flat()) {
      expect(visit["note"]).toBe(
        "Asked to be called at [PHONE] or written to at [EMAIL], see case [CASE].",
      );
    }
  });

  it("groups: five patients and two diagnoses at least share a birth date and postcode", () => {
    for (const lane of left) {
      const groups = Map.groupBy(
        lane,
        ({ patient }) => `${patient.birthDate} ${patient.address.postcode}`,
      );
      expect(groups.size).toBeGreaterThan(5);
      for (const [region, members] of groups) {
        // The widest ranges are what stands there when a window had too few.
        if (region === "1930-01-01/2009-12-31 00000-99999") continue;
        expect(new Set(members.map(({ patientId }) => patientId)).size).toBeGreaterThanOrEqual(K);
        expect(new Set(members.map(({ diagnosis }) => diagnosis)).size).toBeGreaterThanOrEqual(2);
      }
      const narrow = lane.filter(({ patient }) => patient.address.postcode !== "00000-99999");
      expect(narrow.length / lane.length).toBeGreaterThan(0.3);
    }
  });

  it("places every value inside its range", () => {
    const days = (range: string): [string, string] => {
      const [first = "", last = first] = range.split("/");
      return [
        first.padEnd(10, "-01").slice(0, 10),
        last.length === 10 ? last : `${last}-99-99`.slice(0, 10),
      ];
    };
    for (const visit of left.flat()) {
      const patient = patientOf(raw(visit));
      const [first, last] = days(visit.patient.birthDate);
      expect(String(patient["birthDate"]) >= first && String(patient["birthDate"]) <= last).toBe(
        true,
      );
      const [low = "", high = low] = visit.patient.address.postcode.split("-");
      const postcode = String(
        (patient["address"] as unknown as Record<string, string>)["postcode"],
      );
      expect(postcode >= low && postcode <= high).toBe(true);
    }
  });

  it("never shows two groupings of a visit, not even to who reads aborted transactions", () => {
    const seen = new Map<string, string>();
    for (const visit of everWritten.flat()) {
      const now = JSON.stringify(visit);
      expect(now).toBe(seen.get(visit.visitId) ?? now);
      seen.set(visit.visitId, now);
    }
    expect(everWritten.flat().length).toBeGreaterThanOrEqual(VISITS);
  });

  it("makes dead letters of what no rule understands", async () => {
    const letters = (
      await readAll(client, `${topicName(pipeline.name, "raw")}.dead`, LANES)
    ).flat();
    const reasons = letters.map(({ headers }) =>
      text.decode(headers["__connect.errors.exception.class.name"]),
    );
    expect(reasons.sort()).toEqual(["schema", "wrong-type", "wrong-type", "wrong-type"]);
    for (const { headers } of letters) {
      expect(
        Object.values(headers)
          .map((value) => text.decode(value))
          .join(),
      ).not.toMatch(/1954|heavy|bad-/);
    }
  });

  it("leaves nothing of what it takes out in any topic but raw", async () => {
    const markers = [...sent.values()].flatMap((visit) => {
      const { email, phone, name } = patientOf(visit);
      return [email, phone, name, visit["internalRemark"], visit.patientId].map(String);
    });
    const pseudonym = left[0]?.[0]?.patientId ?? "none";
    const scan = createMarkerScan(new Set([...markers, pseudonym]));
    const names = await client.listTopics(`${pipeline.name}.`);
    for (const topic of names.filter((name) => !name.endsWith(".raw"))) {
      const partitions = (await client.describeTopics([topic]))[0]?.partitions ?? 0;
      for (const { key, value, headers } of (await readAll(client, topic, partitions)).flat()) {
        for (const part of [key, value, ...Object.values(headers)]) {
          if (part !== null) scan.scan(topic, part);
        }
      }
    }
    // It would have found them: it finds what does leave.
    expect(scan.hits().map(({ where }) => where)).toEqual([
      topicName(pipeline.name, "desensitized"),
    ]);
  });
});
