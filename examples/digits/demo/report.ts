/** The demo's figures, and the table a person reads at its end. */

export interface Figures {
  readonly records: number;
  readonly predicted: number;
  readonly accuracyEncrypted: number;
  readonly accuracyPlain: number;
  readonly accuracyNotPrivate: number;
  readonly agreement: number;
  readonly epsilon: number;
  /** Whom epsilon speaks of. */
  readonly unit: string;
  readonly delta: number;
  readonly markerHits: number;
  readonly secondsTotal: number;
  readonly stages: Readonly<
    Record<
      string,
      { readonly records: number; readonly seconds: number; readonly rssMaxBytes: number }
    >
  >;
}

export interface Extra {
  readonly updates: number;
  readonly markers: number;
  readonly bytesScanned: number;
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
const mebibytes = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MB`;

export function printSummary(figures: Figures, extra: Extra): void {
  const rows: [string, string][] = [
    ["records", `${figures.records}, of which ${figures.predicted} predicted on ciphertexts`],
    [
      "privacy",
      `epsilon ${figures.epsilon.toFixed(2)} at delta ${figures.delta} for each ${figures.unit}, ${extra.updates} updates`,
    ],
    ["accuracy, encrypted", percent(figures.accuracyEncrypted)],
    [
      "accuracy, plain",
      `${percent(figures.accuracyPlain)} (same checkpoint; agreement ${percent(figures.agreement)})`,
    ],
    [
      "accuracy, no noise",
      `${percent(figures.accuracyNotPrivate)} (same records, one pass, clipped, not private)`,
    ],
    [
      "personal data found",
      `${figures.markerHits} of ${extra.markers} markers, in ${mebibytes(extra.bytesScanned)} of topics, logs, metrics, files`,
    ],
    ["time", `${figures.secondsTotal.toFixed(1)} s`],
  ];
  const lines = rows.map(([name, value]) => `  ${name.padEnd(22)}${value}`);
  const stages = Object.entries(figures.stages).map(([name, { records, seconds, rssMaxBytes }]) => {
    const rate =
      seconds > 0 ? `${Math.round(records / seconds).toLocaleString("en")} records/s` : "";
    return `  ${name.padEnd(14)}${String(records).padStart(8)}${seconds.toFixed(2).padStart(9)} s${rate.padStart(20)}${mebibytes(rssMaxBytes).padStart(10)}`;
  });
  process.stdout.write(
    `\n${lines.join("\n")}\n\n  ${"stage".padEnd(14)}${"records".padStart(8)}${"busy".padStart(11)}${"while busy".padStart(20)}${"memory".padStart(10)}\n${stages.join("\n")}\n`,
  );
}

/** Rows of the ledger that are shown at either end of its table. */
const SHOWN_ROWS = 3;

/** What `sealstream ledger` prints, without the middle of a long table. @param text the command's standard output */
export function printLedger(text: string): void {
  const lines = text.trimEnd().split("\n");
  const tableEnd = lines.indexOf("") === -1 ? lines.length : lines.indexOf("");
  const head = lines.slice(0, SHOWN_ROWS);
  const tail = lines.slice(Math.max(SHOWN_ROWS, tableEnd - SHOWN_ROWS));
  const hidden = tableEnd - 2 * SHOWN_ROWS;
  const middle = hidden > 0 ? [`  ... ${hidden} more entries ...`] : [];
  const shown = [...head, ...middle, ...tail].map((line) => (line === "" ? "" : `  ${line}`));
  process.stdout.write(
    `\n  the privacy ledger, verified from the topics alone\n\n${shown.join("\n")}\n`,
  );
}
