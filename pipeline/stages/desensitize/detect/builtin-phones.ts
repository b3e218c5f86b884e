/**
 * Telephone numbers: E.164 with its usual spellings, and national forms of twelve countries.
 *
 * A trunk number (0 and an area or mobile code) is one shape for Germany, France, the United Kingdom, Italy, the
 * Netherlands, Chinese and Indian land lines; countries without a trunk 0 have a shape each. Lengths by calling code and
 * the evenness of separators are checked in the guest (validate-phone.ts).
 */
import type { Shape } from "./builtin.ts";

/** One separator, no-break space and non-breaking hyphen among them. */
const GAP = "(?:[ .\\-\\/\\u00a0\\u2011]| [\\-\\/\\u2013] )?";
const NARROW = "[ .\\-\\u00a0\\u2011]";
/** An extension as English forms write it. */
const EXTENSION = "(?:,? ?(?:x|ext\\.? ?|#)\\d{1,6})?";

export const PHONE_PATTERNS: readonly Shape[] = [
  {
    // +49 (0) 170 1234567, 0044 20 7946 0958, +1 (201) 555-0123
    pattern: `(?:\\+|00)[1-9](?:${GAP}\\(?\\d\\)?){6,15}${EXTENSION}`,
    validator: "phoneInternational",
    joiners: [".", "-"],
  },
  {
    // 030/1234567, (0211) 12 34 56, 06 12 34 56 78, 020 7946 0958, 010-12345678
    pattern: `\\(?0[1-9]\\d{0,4}\\)?(?:${GAP}\\d){5,10}`,
    validator: "phoneTrunk",
    joiners: [".", "-"],
  },
  {
    // United States: (201) 555-0123, 1-201-555-0123, 201.555.0123, 2015550123
    pattern: `(?:1${NARROW}?)?(?:\\([2-9]\\d\\d\\) ?|[2-9]\\d\\d${NARROW}?)[2-9]\\d\\d${NARROW}?\\d{4}${EXTENSION}`,
    joiners: [".", "-"],
  },
  {
    // Spain: 612 345 678, 612 34 56 78, 612345678
    pattern: `[6-9]\\d\\d(?:${NARROW}?\\d{3}${NARROW}?\\d{3}|${NARROW}\\d\\d${NARROW}\\d\\d${NARROW}\\d\\d)`,
    joiners: [".", "-"],
  },
  {
    // Polish land lines and Czech numbers: 42 686 84 80, 61-211-77-38, 222 123 456
    pattern: `[1-9]\\d[ \\-]\\d{3}[ \\-]\\d\\d[ \\-]\\d\\d|[2-5]\\d\\d${NARROW}\\d{3}${NARROW}\\d{3}`,
    joiners: [".", "-"],
  },
  {
    // Italian mobiles: 312 345 6789, 312 3456789
    pattern: `3\\d\\d${NARROW}?\\d{3}${NARROW}?\\d{3,4}`,
    joiners: [".", "-"],
  },
  {
    // Chinese mobiles: 13123456789, 131 2345 6789
    pattern: `(?:86${NARROW}?)?1[3-9]\\d${NARROW}?\\d{4}${NARROW}?\\d{4}`,
    joiners: [".", "-"],
  },
  {
    // Indian mobiles: 8123456789, 81234 56789
    pattern: `(?:91${NARROW}?)?[6-9]\\d{4}${NARROW}?\\d{5}`,
    joiners: [".", "-"],
  },
  {
    // Brazil: (11) 96123-4567, 11 3123-4567, 11961234567; in brackets the area makes any eight or nine digits one
    pattern: `\\([1-9]\\d\\) ?\\d{4,5}${NARROW}?\\d{4}|[1-9]\\d ?(?:9${NARROW}?\\d{4}${NARROW}?\\d{4}|[2-5]\\d{3}${NARROW}\\d{4})`,
    joiners: [".", "-"],
  },
];
