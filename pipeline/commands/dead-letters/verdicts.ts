/** The closed list of what can become of a letter that was chosen for a replay, and what to do about each. */

export const VERDICTS = {
  replayed: "went back into the stage's input",
  "would-replay": "would go back; nothing was written",
  "already-replayed": "went back before, and are never replayed twice",
  "still-refused": "are refused by the pipeline file's rules as before: mend the file, then replay",
  "came-through":
    "came through with the same record id meanwhile: replaying would count them twice",
  "same-id": "have the record id of a letter that was replayed just now",
  "source-expired":
    "tell of records that retention has removed, so that nobody can compare: --unverified trusts the letter",
  "letter-expired": "were removed by retention while the replay looked downstream",
  "not-the-source": "are not what lies at the offset they name: somebody made or moved them",
  edited: "do not open under their headers: somebody edited or moved them",
  malformed: "have no headers of a letter of this topic",
  "too-large":
    "hold only a digest: the record is too large to be sealed and would be refused again",
  "too-many-attempts": "were replayed --max-attempts times already and refused each time",
  "evidence-expired":
    "are older than what is left downstream, so that nobody can tell whether they came through",
  "other-zone": "hold what is sealed and bound to its place: produce the record again at the owner",
} as const satisfies Record<string, string>;

export type Verdict = keyof typeof VERDICTS;

/** Verdicts that are no failure of what was asked for. */
export function isGood(verdict: Verdict): boolean {
  return verdict === "replayed" || verdict === "would-replay" || verdict === "already-replayed";
}
