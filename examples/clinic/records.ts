/**
 * Made-up visits to a clinic, the same for the same seed: what the example's schema allows, with personal data everywhere.
 */
import { de, en, Faker } from "@faker-js/faker";

const CITIES = ["Berlin", "Potsdam", "Cottbus", "Hamburg", "Kiel", "Bonn", "Aachen", "München"];
const DIAGNOSES = ["asthma", "diabetes", "fracture", "flu", "none"];

export interface Visit {
  readonly visitId: string;
  readonly patientId: string;
  readonly diagnosis: string;
  readonly [field: string]: unknown;
}

interface Patient {
  readonly patientId: string;
  readonly patient: Readonly<Record<string, unknown>>;
  readonly note: string;
}

function patientOf(faker: Faker, index: number): Patient {
  const name = faker.person.fullName();
  const email = faker.internet.email();
  const phone = faker.phone.number({ style: "international" });
  return {
    patientId: `P-${100_000 + index}`,
    patient: {
      name,
      phone,
      email,
      insuranceNumber: faker.string.numeric(10),
      birthDate: faker.date.birthdate({ mode: "age", min: 18, max: 90 }).toISOString().slice(0, 10),
      heightCm: faker.number.int({ min: 150, max: 200 }),
      address: {
        street: faker.location.streetAddress(),
        postcode: faker.string.numeric(5),
        city: faker.helpers.arrayElement(CITIES),
      },
    },
    note: `Asked to be called at ${phone} or written to at ${email}, see case C-${faker.string.numeric(4)}.`,
  };
}

/** @param patients each comes several times when there are more visits than patients */
export function visits(count: number, patients: number, seed: number): Visit[] {
  const faker = new Faker({ locale: [de, en], seed });
  // A fixed day, so that ages do not move with the calendar.
  faker.setDefaultRefDate("2026-01-01T00:00:00Z");
  const people = Array.from({ length: patients }, (_, index) => patientOf(faker, index));
  return Array.from({ length: count }, (_, index) => ({
    visitId: `V-${seed}-${index}`,
    ...faker.helpers.arrayElement(people),
    admittedOn: faker.date.past().toISOString().slice(0, 10),
    stayDays: faker.number.int({ min: 0, max: 20 }),
    ward: `${faker.helpers.arrayElement(["A", "B", "C"])}${faker.string.numeric(2)}`,
    doctor: `Dr. ${faker.person.lastName()}`,
    deviceId: faker.string.uuid(),
    weightKg: faker.number.int({ min: 450, max: 1200 }) / 10,
    diagnosis: faker.helpers.arrayElement(DIAGNOSES),
    invoices: faker.helpers.multiple(
      () => ({
        iban: faker.finance.iban({ countryCode: "DE" }),
        amount: faker.number.int({ min: 1000, max: 90_000 }) / 100,
      }),
      { count: { min: 0, max: 3 } },
    ),
    internalRemark: `Private: ${faker.lorem.sentence()}`,
    recordedBy: faker.person.fullName(),
    vitals: [70, 120, 80, 97].map((usual) => usual + faker.number.int({ min: -20, max: 3 })),
    readmitted: index % 5 === 0 ? null : faker.number.int({ min: 0, max: 1 }),
  }));
}
