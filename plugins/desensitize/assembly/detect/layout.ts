/**
 * Where the parts of a set of detectors lie: what configure.ts builds once and scan.ts reads for every text.
 *
 * Tables by byte hold a bit for each group. Everything stays in the arena for the life of the instance.
 */

/** Most groups of a set: a word of bits. */
export const MOST_GROUPS: u32 = 32;
/** Most patterns of a group. */
export const MOST_PATTERNS: u32 = 31;
export const MOST_TYPES: u32 = 64;

// A set.
export const SET_GROUPS: usize = 0;
export const SET_GROUP_COUNT: usize = 4;
export const SET_TYPES: usize = 8;
/** Most bytes that a byte of text can become. */
export const SET_GROWTH: usize = 12;
/** Which of eight buckets each low nibble, and each high nibble, of an anchor byte is in: for a SIMD look-up. */
export const SET_LOW: usize = 16;
export const SET_HIGH: usize = 32;
/** u32 by byte: groups that it is an anchor of. */
export const SET_ANCHORS: usize = 48;
/** 1: all ten digits are anchors of the same groups, so one visit is enough for a run of them. */
export const SET_DIGIT_RUNS: usize = 48 + 1024;
export const SET_BYTES: usize = 64 + 1024;

// A group of patterns that share an automaton, and one that goes back from an anchor to where matches may begin.
export const GROUP_PATTERNS: usize = 0;
export const GROUP_PATTERN_COUNT: usize = 4;
// Its automaton: u8 classes by byte, and u16 transitions by state and class. A transition is the place of a state's row in
// the table, shifted right by SHIFT, so that no step multiplies and a row of a large table still has two bytes an entry.
export const GROUP_CLASS_OF: usize = 8;
export const GROUP_NEXT: usize = 12;
export const GROUP_SHIFT: usize = 16;
/** The row of the first accepting state, and from one row to the next, both shifted. */
export const GROUP_FIRST_ACCEPTING: usize = 20;
export const GROUP_ROW: usize = 24;
/** u32 of patterns by accepting state. */
export const GROUP_ACCEPTS: usize = 28;
/** Added to the five above but GROUP_ACCEPTS: those of the way back. */
export const BACK: usize = 24;
/** First byte of the text at hand that no match was yet looked for from. */
export const GROUP_TRIED: usize = 52;
/** The least of the patterns' PATTERN_FREE: before it no start is worth trying. */
export const GROUP_FREE: usize = 56;
/** 1: a pattern of it may have had a detection since the last text was begun. */
export const GROUP_HAS_FOUND: usize = 60;
export const GROUP_BYTES: usize = 64;

// A pattern.
export const PATTERN_TYPE: usize = 0;
export const PATTERN_VALIDATOR: usize = 4;
export const PATTERN_JOINERS: usize = 8;
/** Where this pattern's last detection in the text at hand ends. */
export const PATTERN_FREE: usize = 12;
/** End of the longest match of the start at hand. */
export const PATTERN_BEST: usize = 16;
export const PATTERN_BYTES: usize = 20;

// A type: what stands in place of its detections.
export const TYPE_TEXT: usize = 0;
export const TYPE_TEXT_BYTES: usize = 4;
/** 1: the text, one character, takes the place of each character; 0: of the whole detection. */
export const TYPE_IS_MASK: usize = 8;
export const TYPE_BYTES: usize = 12;
