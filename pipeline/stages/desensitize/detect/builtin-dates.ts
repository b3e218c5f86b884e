/**
 * Dates as people write their birthdays: ISO 8601, numbers in three orders, and month names in five languages.
 *
 * Calendar and order of the numeric forms are checked in the guest; with a month name the day is 1 to 31.
 */
import type { Shape } from "./builtin.ts";

/** English, German, French, Spanish, Italian, whole and short; the letters that are no ASCII in both cases. */
const MONTHS = [
  "jan(?:uary|uar|vier|v?\\.)?|jän(?:ner|\\.)?|ene(?:ro|\\.)?|gen(?:naio|\\.)?",
  "feb(?:ruary|ruar|rero|braio|\\.)?|f[éÉ]v(?:rier|r\\.|\\.)?|fevrier",
  "mar(?:ch|s|zo|\\.)?|m[äÄ]rz?\\.?|maerz",
  "apr(?:il|ile|\\.)?|avr(?:il|\\.)?|abr(?:il|\\.)?",
  "may(?:o)?|mai|mag(?:gio|\\.)?",
  "june?\\.?|juni|juin|junio|giu(?:gno|\\.)?",
  "july?\\.?|juli|juil(?:let|\\.)?|julio|lug(?:lio|\\.)?",
  "aug(?:ust|\\.)?|ao[ûÛu]t|ago(?:sto|\\.)?",
  "sept?(?:ember|embre|iembre|\\.)?|set(?:tembre|iembre|\\.)?",
  "o[ck]t(?:ober|obre|ubre|\\.)?|ott(?:obre|\\.)?",
  "nov(?:ember|embre|iembre|\\.)?",
  "de[cz](?:ember|embre|\\.)?|dic(?:embre|iembre|\\.)?|d[éÉ]c(?:embre|\\.)?",
].join("|");
const DAY = "(?:0?[1-9]|[12]\\d|3[01])";
const YEAR = "(?:1[89]\\d\\d|20\\d\\d)";
const NUMBER = "\\d\\d?";
/** A time of day after an ISO date; without it the `T` would make the date part of a longer word. */
const TIME = "(?:T\\d\\d:\\d\\d(?::\\d\\d(?:\\.\\d{1,9})?)?(?:Z|[+\\-]\\d\\d:?\\d\\d)?)?";
const ORDINAL = "(?:st|nd|rd|th|er|º|°|\\.)?";
const JOINERS = [".", "-", "/"] as const;

export const DATE_PATTERNS: readonly Shape[] = [
  {
    pattern: `${YEAR}(?:-${NUMBER}-${NUMBER}${TIME}|\\/${NUMBER}\\/${NUMBER}|\\.${NUMBER}\\.${NUMBER})`,
    validator: "dateYearFirst",
    joiners: JOINERS,
  },
  {
    pattern: `${NUMBER}(?:\\. ?${NUMBER}\\. ?${YEAR}|-${NUMBER}-${YEAR})|\\d\\d\\.\\d\\d\\.\\d\\d`,
    validator: "dateDayFirst",
    joiners: JOINERS,
  },
  {
    pattern: `${NUMBER}\\/${NUMBER}\\/(?:${YEAR}|\\d\\d)`,
    validator: "dateSlashes",
    joiners: JOINERS,
  },
  {
    // 3 March 1990, 3. März 1990, 1er mars 1990, 12 de marzo de 1990, 15-Jan-1990
    pattern: `${DAY}${ORDINAL}(?: |-)?(?:of |de )?(?:${MONTHS}),?(?: |-)(?:de |del )?${YEAR}`,
    ignoreCase: true,
    joiners: JOINERS,
  },
  {
    // March 3, 1990; Mar. 3rd 1990
    pattern: `(?:${MONTHS}) ${DAY}${ORDINAL},? ${YEAR}`,
    ignoreCase: true,
  },
  { pattern: `${YEAR} ?年 ?${NUMBER} ?月 ?${NUMBER} ?日`, validator: "dateYearFirst" },
];
