/**
 * What the name of a field tells about its content, in English, German, French and Spanish.
 *
 * Direct identifiers are those of HIPAA's Safe Harbor method (45 CFR 164.514(b)(2)); quasi-identifiers its dates and
 * places, and what work on k-anonymity commonly takes for them (age, sex, occupation and so on). A name is a hint: a
 * field may hold something else, and that is why all of this only warns.
 */

/** A kind of personal detail and the words that stand for it. */
export interface Kind {
  /** With its article, as a warning says it. */
  readonly says: string;
  /** `birth date` is in birthDate, birth_date, person.birth-date and birthdate; `=card` is a name that is nothing else. */
  readonly words: string;
  /** Whether numbers may be such a detail, or texts alone. */
  readonly numbers: boolean;
}

/** The first that fits is the kind of a field. */
export const IDENTIFIERS: readonly Kind[] = [
  {
    says: "an e-mail address",
    words:
      "email, e mail, mail address, =mail, mailadresse, courriel, adresse mail, correo, correo electronico",
    numbers: false,
  },
  {
    says: "a phone number",
    words:
      "phone, telephone, mobile number, =mobile, cell number, =cell, =tel, fax, whatsapp, telefon, telefonnummer, handy, handynummer, mobilnummer, rufnummer, =portable, numero telephone, telefono, =movil, numero movil",
    numbers: true,
  },
  {
    says: "an IP address",
    words:
      "ip, ip address, ipv4, ipv6, remote addr, client addr, ip adresse, adresse ip, direccion ip",
    numbers: false,
  },
  {
    says: "an identifier of a device",
    words:
      "device id, device serial, serial number, serial no, imei, imsi, mac address, =mac, udid, idfa, gaid, advertising id, android id, cookie id, gerate id, geratenummer, seriennummer, numero serie",
    numbers: true,
  },
  {
    says: "a number of an identity document",
    words:
      "ssn, social security, national id, national insurance, nino, nhs number, tax id, tax number, =tin, passport, passport number, identity card, id card, driving licence, driving license, driver licence, driver license, drivers license, licence number, license number, sozialversicherungsnummer, versichertennummer, steuer id, steuernummer, reisepass, passnummer, ausweis, ausweisnummer, personalausweis, fuhrerschein, fuhrerscheinnummer, =nir, securite sociale, passeport, carte identite, permis conduire, =dni, =nie, =nif, curp, pasaporte, seguridad social, personnummer",
    numbers: true,
  },
  {
    says: "a card or account number",
    words:
      "iban, card number, card no, =card, credit card, debit card, payment card, =pan, bank account, account number, account no, account id, kreditkarte, kartennummer, kontonummer, =konto, bankverbindung, carte bancaire, carte credit, numero carte, numero compte, compte bancaire, tarjeta, numero tarjeta, numero cuenta, cuenta bancaria",
    numbers: true,
  },
  {
    says: "a vehicle's plate or number",
    words:
      "licence plate, license plate, number plate, plate number, =plate, =vin, vehicle id, vehicle registration, kennzeichen, nummernschild, fahrgestellnummer, immatriculation, plaque, matricula",
    numbers: true,
  },
  {
    says: "a user name",
    words:
      "user name, screen name, nick name, login name, =login, =user, =handle, display name, benutzername, anmeldename, nom utilisateur, pseudonyme, nombre usuario, =usuario",
    numbers: false,
  },
  {
    says: "a person's number",
    words:
      "user id, customer id, customer number, customer no, client number, client no, patient id, patient number, person id, member id, member number, employee id, employee number, student id, subject id, medical record, =mrn, health plan, beneficiary number, insurance number, policy number, kundennummer, kunden id, patientennummer, mitgliedsnummer, personalnummer, matrikelnummer, numero client, numero patient, id utilisateur, numero cliente, id cliente, id usuario",
    numbers: true,
  },
  {
    says: "a URL",
    words: "url, uri, website, web site, =homepage, webseite, site web, sitio web",
    numbers: false,
  },
  {
    says: "a photo or biometric",
    words:
      "photo, =portrait, selfie, =avatar, face image, profile picture, profile image, =fingerprint, finger prints, voice print, iris scan, =foto, passfoto, lichtbild, photographie, fotografia",
    numbers: false,
  },
  {
    says: "a street address",
    words:
      "address, street, house number, po box, adresse, anschrift, strasse, hausnummer, =rue, numero rue, direccion, =calle, domicilio, domicile",
    numbers: false,
  },
  {
    says: "a name of a person",
    words:
      "name, first name, last name, full name, surname, forename, given name, family name, middle name, maiden name, vorname, nachname, familienname, geburtsname, =nom, nom famille, nom complet, nom client, prenom, =nombre, nombre completo, nombre cliente, apellido",
    numbers: false,
  },
];

export const QUASI_IDENTIFIERS: readonly Kind[] = [
  {
    says: "a birth date",
    words:
      "birth, birthday, birth date, dob, date of birth, geburt, geburtsdatum, geburtstag, geburtsjahr, naissance, nacimiento",
    numbers: true,
  },
  { says: "an age", words: "age, =alter, lebensalter, edad", numbers: true },
  {
    says: "a date of a person's life",
    words:
      "death date, date of death, admission date, discharge date, wedding date, todesdatum, sterbedatum, aufnahmedatum, entlassungsdatum, deces, fallecimiento, fecha ingreso, fecha alta",
    numbers: true,
  },
  { says: "a sex", words: "sex, gender, geschlecht, sexe, sexo, genero", numbers: true },
  {
    says: "a postcode",
    words:
      "postcode, post code, postal code, zip, zip code, plz, postleitzahl, code postal, codigo postal",
    numbers: true,
  },
  {
    says: "a place",
    words:
      "city, town, village, municipality, county, district, province, region, federal state, home state, country, neighbourhood, neighborhood, borough, latitude, longitude, =lat, =lon, =lng, gps, geohash, coordinates, =ort, wohnort, stadt, gemeinde, landkreis, bundesland, kanton, =land, ville, commune, departement, =pays, ciudad, municipio, provincia, =pais",
    numbers: true,
  },
  {
    says: "an origin",
    words:
      "nationality, citizenship, ethnicity, ethnic, race, native language, mother tongue, staatsangehorigkeit, nationalitat, ethnie, geburtsort, geburtsland, muttersprache, nationalite, langue maternelle, nacionalidad, etnia, raza, lengua materna",
    numbers: true,
  },
  {
    says: "a religion",
    words: "religion, denomination, konfession, religionszugehorigkeit",
    numbers: true,
  },
  {
    says: "a family status",
    words:
      "marital, marital status, civil status, family status, familienstand, household size, number of children, =children, haushaltsgrosse, kinderzahl, situation familiale, etat civil, nombre enfants, estado civil, numero hijos",
    numbers: true,
  },
  {
    says: "an occupation",
    words:
      "occupation, profession, job title, =job, employer, =company, beruf, arbeitgeber, =firma, =metier, employeur, ocupacion, profesion, empleador, =empresa",
    numbers: true,
  },
  {
    says: "an education",
    words:
      "education, school, university, academic degree, bildung, bildungsabschluss, schulabschluss, abschluss, diplome, niveau etudes, educacion, nivel estudios, titulacion",
    numbers: true,
  },
  {
    says: "an income",
    words:
      "income, salary, wage, einkommen, gehalt, lohn, revenu, salaire, ingresos, salario, =renta",
    numbers: true,
  },
];

export const FREE_TEXT: Kind = {
  says: "free text",
  words:
    "note, comment, message, description, remark, =text, free text, =body, =bio, biography, feedback, review, memo, complaint, transcript, diagnosis text, notiz, bemerkung, anmerkung, kommentar, nachricht, beschreibung, freitext, remarque, commentaire, comentario, observacion, observaciones, mensaje, descripcion, =nota",
  numbers: false,
};

/** Before `name`: it is the name of something else. */
const NOT_PERSONS = new Set(
  "file class table column field topic model event host server service app application category brand product item article package company firm organization school country city town state region street bank plan project group role type tag color device browser os domain bucket index queue job task step stage metric unit currency language month day song album book game team method function variable property attribute key locale time zone timezone city place station store shop hotel restaurant route line port street form rule".split(
    " ",
  ),
);

/** Names that say nothing without the name around them: `phones[].number`. */
const EMPTY = new Set("value number no nr text nummer wert numero valeur valor".split(" "));

const MARKS = /\p{M}/gu;
/** Where a word of a name ends: `firstName`, `HTTPUrl`, `first_name`, `first-name`, `address1`. */
const ENDS = /(?<=\p{Ll})(?=\p{Lu})|(?<=\p{Lu})(?=\p{Lu}\p{Ll})|[^\p{L}]+/u;

/** Words of a name, lower case, without accents: `prénomClient2` is `prenom`, `client`. */
export function wordsOf(name: string): string[] {
  const plain = name.normalize("NFD").replace(MARKS, "").replaceAll("ß", "ss");
  return plain
    .split(ENDS)
    .filter((word) => word !== "")
    .map((word) => word.toLowerCase());
}

interface Pattern {
  readonly words: readonly string[];
  readonly isWhole: boolean;
}

const patterns = new Map<Kind, readonly Pattern[]>();

function patternsOf(kind: Kind): readonly Pattern[] {
  const known = patterns.get(kind);
  if (known !== undefined) return known;
  const made = kind.words.split(",").map((one): Pattern => {
    const trimmed = one.trim();
    return { words: wordsOf(trimmed), isWhole: trimmed.startsWith("=") };
  });
  patterns.set(kind, made);
  return made;
}

const isWord = (found: string | undefined, wanted: string): boolean =>
  found === wanted || found === `${wanted}s` || found === `${wanted}es`;

/** Whether a name says a kind. @param around words of the field that it stands in */
function says(kind: Kind, name: readonly string[], around: readonly string[]): boolean {
  return patternsOf(kind).some(({ words, isWhole }) => {
    const joined = words.join("");
    if (isWhole) return isWord(name.join(""), joined);
    if (name.some((word) => isWord(word, joined))) return true;
    const all = [...around, ...name];
    // The match ends within the name itself: `address.country` is no address.
    return all.some(
      (_, start) =>
        start + words.length > around.length &&
        words.every((word, i) => isWord(all[start + i], word)),
    );
  });
}

/** What a field's own name, and the name of the field around it, tell; null: nothing. */
export function kindOf(kinds: readonly Kind[], name: string, around: string): Kind | null {
  const own = wordsOf(name);
  const outer = wordsOf(around);
  const [last, before] = [...outer, ...own].reverse();
  // Because a company's name is no person's; what else its field tells is still looked for.
  const isThing = last === "name" && NOT_PERSONS.has(before?.replace(/s$/, "") ?? "");
  const kind =
    kinds.find((one) => says(one, own, outer)) ??
    (own.every((word) => EMPTY.has(word)) ? kinds.find((one) => says(one, outer, [])) : null) ??
    null;
  return isThing && kind === IDENTIFIERS.at(-1) ? null : kind;
}
