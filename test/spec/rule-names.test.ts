/**
 * What names of fields tell: direct identifiers, quasi-identifiers, or nothing.
 */
import { describe, expect, it } from "vitest";
import { identifierOf, quasiIdentifierOf } from "../../pipeline/spec/lint/leaves.ts";
import { wordsOf } from "../../pipeline/spec/lint/names.ts";

describe("names of fields", () => {
  it("are read as words", () => {
    expect(wordsOf("HTTPUrl2_first-nameÉtat")).toEqual(["http", "url", "first", "name", "etat"]);
    expect(wordsOf("Straße")).toEqual(["strasse"]);
  });

  const leaf = (path: string) => ({ path, property: null });
  it.each([
    ["phone.number", "phone"],
    ["user.id", "person's number"],
    ["buyers[].eMail", "e-mail"],
    ["lieferanschrift.strasse", "address"],
    ["numeroTarjeta", "card"],
    ["nom", "name"],
    ["emails[].value", "e-mail"],
  ])("%s is a direct identifier", (path, says) => {
    expect(identifierOf(leaf(path))).toContain(says);
  });

  it.each([
    "products[].name",
    "file_name",
    "nombreEnfants",
    "address.country",
    "lastLogin",
    "formId",
    "discard",
    "manual",
    "order.number",
  ])("%s is none", (path) => {
    expect(identifierOf(leaf(path))).toBeNull();
  });

  it.each([
    ["person.dateOfBirth", "birth"],
    ["fechaNacimiento", "birth"],
    ["familienstand", "family"],
    ["etat_civil", "family"],
    ["PLZ", "postcode"],
    ["yearOfBirth", "birth"],
    ["address.city", "place"],
    ["gehalt", "income"],
  ])("%s is a quasi-identifier", (path, says) => {
    expect(quasiIdentifierOf(leaf(path))).toContain(says);
  });

  it.each(["page", "message", "average", "alterTable", "pixels"])("%s is none either", (path) => {
    expect(quasiIdentifierOf(leaf(path))).toBeNull();
  });
});
