/**
 * Dates as people write their birthdays: ISO 8601, numbers in three orders, and month names in fourteen languages.
 *
 * Calendar and order of the numeric forms are checked in the guest; with a month name the day is 1 to 31.
 */
import type { Shape } from "./builtin.ts";

/**
 * Whole and short, as dates have them, in English, German, French, Spanish, Italian, Portuguese, Dutch, Swedish, Danish,
 * Norwegian, Polish, Czech, Turkish and Russian; first letters that are no ASCII in both cases.
 */
const MONTHS = [
  "jan(?:uary|uari|uar|eiro|vier|v?\\.)?|jän(?:ner|\\.)?|ene(?:ro|\\.)?|gen(?:naio|\\.)?|sty(?:cznia)?|ledna|oca(?:k)?|[яЯ]нв(?:аря|\\.)?",
  "feb(?:ruary|ruari|ruar|rero|braio|\\.)?|fev(?:ereiro|\\.)?|f[éÉ]v(?:rier|r\\.|\\.)?|fevrier|lut(?:ego)?|[úÚ]nora|[şŞ]ub(?:at)?|[фФ]евр?(?:аля|\\.)?",
  "mar(?:ch|s|zo|t|ts|ca|\\.)?|m[äÄ]rz?\\.?|maerz|mar[çÇ]o|maart|mrt\\.?|b[řŘ]ezna|[мМ]арт?(?:а|\\.)?",
  "apr(?:il|ile|\\.)?|avr(?:il|\\.)?|abr(?:il|\\.)?|kwi(?:etnia)?|dubna|nis(?:an)?|[аА]пр(?:еля|\\.)?",
  "may(?:o|ıs)?|mai(?:o|\\.)?|mag(?:gio|\\.)?|mei|maja?|kv[ěĚ]tna|[мМ]а[йя]",
  "june?\\.?|juni|juin|junio|jun(?:ho|\\.)|giu(?:gno|\\.)?|cze(?:rwca)?|[čČ]ervna|haz(?:iran)?|[иИ]юн(?:я|\\.)?",
  "july?\\.?|juli|juil(?:let|\\.)?|julio|jul(?:ho|\\.)|lug(?:lio|\\.)?|lip(?:ca)?|[čČ]ervence|tem(?:muz)?|[иИ]юл(?:я|\\.)?",
  "aug(?:ust|usti|ustus|\\.)?|ao[ûÛu]t|ago(?:sto|\\.)?|sie(?:rpnia)?|srpna|a[ğĞ]u(?:stos)?|[аА]вг(?:уста|\\.)?",
  "sept?(?:ember|embre|iembre|\\.)?|set(?:tembre|iembre|embro|\\.)?|wrz(?:e[śŚ]nia)?|z[áÁ][řŘ][íÍ]|eyl(?:[üÜ]l)?|[сС]ент?(?:ября|\\.)?",
  "o[ck]t(?:ober|obre|ubre|\\.)?|ott(?:obre|\\.)?|out(?:ubro|\\.)?|pa[źŹ](?:dziernika)?|[řŘ][íÍ]jna|eki(?:m)?|[оО]кт(?:ября|\\.)?",
  "nov(?:ember|embre|iembre|embro|\\.)?|lis(?:topada|topadu)?|kas(?:ım)?|[нН]ояб?(?:ря|\\.)?",
  "de[cz](?:ember|embre|embro|\\.)?|des(?:ember|\\.)?|dic(?:embre|iembre|\\.)?|d[éÉ]c(?:embre|\\.)?|gru(?:dnia)?|prosince|ara(?:l[ıI]k)?|[дД]ек(?:абря|\\.)?",
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
