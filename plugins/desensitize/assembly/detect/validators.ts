/**
 * The checks that a match must pass beside its shape, by number; the host has the same numbers in
 * pipeline/stages/desensitize/detect/builtin.ts.
 */
import { isCard, isCnId, isDeTaxId, isIban, isSsn } from "./validate-codes";
import { isDateDayFirst, isDateSlashes, isDateYearFirst, isIpv6, isPhoneInternational, isPhoneTrunk } from "./validate-texts";

const CARD: u32 = 1;
const IBAN: u32 = 2;
const SSN: u32 = 3;
const IPV6: u32 = 4;
const DATE_YEAR_FIRST: u32 = 5;
const DATE_DAY_FIRST: u32 = 6;
const DATE_SLASHES: u32 = 7;
const DE_TAX_ID: u32 = 8;
const CN_ID: u32 = 9;
const PHONE_INTERNATIONAL: u32 = 10;
const PHONE_TRUNK: u32 = 11;
export const LAST_VALIDATOR: u32 = 11;

/** Whether the match from..to passes check `number`; 0 is none. */
export function passes(number: u32, from: usize, to: usize): bool {
  switch (number) {
    case CARD:
      return isCard(from, to);
    case IBAN:
      return isIban(from, to);
    case SSN:
      return isSsn(from);
    case IPV6:
      return isIpv6(from, to);
    case DATE_YEAR_FIRST:
      return isDateYearFirst(from, to);
    case DATE_DAY_FIRST:
      return isDateDayFirst(from, to);
    case DATE_SLASHES:
      return isDateSlashes(from, to);
    case DE_TAX_ID:
      return isDeTaxId(from, to);
    case CN_ID:
      return isCnId(from);
    case PHONE_INTERNATIONAL:
      return isPhoneInternational(from, to);
    case PHONE_TRUNK:
      return isPhoneTrunk(from, to);
  }
  return true;
}
