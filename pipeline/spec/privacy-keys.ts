/**
 * The keys of `privacy` about noise and accounting: what is true of them, and their checked form.
 *
 * Which accounting holds follows from how records are delivered and never from what a file asks for: a file may only say
 * what is true, and is told what is. Must not compute an epsilon.
 */
import type { PipelineFile } from "../../schemas/pipeline-file.ts";
import type { Complaint } from "./complaint.ts";
import type { LocatedTree } from "./located-tree.ts";
import type { NoiseSpec, PrivacySpec } from "./training-spec.ts";

type Accountant = Exclude<PrivacySpec["accountant"], null>;

/** The checked form of the keys that this file is about. */
export function toNoiseKeys({
  privacy,
}: PipelineFile): Pick<PrivacySpec, "noise" | "accountant" | "participations"> {
  return {
    noise: toNoise(privacy.noise),
    accountant: privacy.accountant ?? null,
    participations: privacy.participations ?? 1,
  };
}

function toNoise(noise: PipelineFile["privacy"]["noise"]): NoiseSpec {
  if (noise === undefined || noise === "independent") return { kind: "independent" };
  const { toeplitz, banded, blt } = noise;
  if (toeplitz !== undefined) return { kind: "toeplitz", ...toeplitz };
  if (banded !== undefined) return { kind: "banded", ...banded };
  // The check below has refused a file that names none.
  return blt === undefined ? { kind: "independent" } : { kind: "blt", ...blt };
}

/** The accounting that is true of a pipeline. */
export function accountantOf(spec: {
  readonly train: { readonly method: "gradient" | "statistics" };
  readonly privacy: { readonly noise: NoiseSpec };
}): Exclude<Accountant, "poisson" | "k-fold"> {
  if (spec.train.method === "statistics") return "statistics";
  return spec.privacy.noise.kind === "independent" ? "one-pass" : "correlated";
}

/** Why each accounting is the one that holds, as the end of a sentence. */
const BECAUSE: Readonly<Record<ReturnType<typeof accountantOf>, string>> = {
  "one-pass":
    "each record enters one update of a run, in the order of arrival, under noise of its own",
  correlated: "each record enters one update of a run, and the noise of the updates hangs together",
  statistics: "each record enters one noisy sum of squares and products",
};

/** Why the accounting of a pipeline is the one that holds, as a clause. */
export function accountingReason(spec: Parameters<typeof accountantOf>[0]): string {
  return BECAUSE[accountantOf(spec)];
}

const NOT_TRUE: Readonly<Record<Accountant, string>> = {
  poisson:
    "poisson is never true of a stream: records come in arrival order, and no trainer here samples from a retained buffer",
  "k-fold": "k-fold is not true here: a record takes part in one update of a run, not in several",
  "one-pass": "one-pass is not true here",
  correlated: "correlated is not true here",
  statistics: "statistics is not true here",
};

/** Every claim about accounting that is not true. */
export function checkPrivacy(file: PipelineFile, tree: LocatedTree): Complaint[] {
  const { train } = file;
  const { noise, accountant, participations } = toNoiseKeys(file);
  const complaints: Complaint[] = [];
  const named = typeof file.privacy.noise === "object" ? Object.keys(file.privacy.noise) : [""];
  if (named.length !== 1) {
    const found = named.length === 0 ? "none" : named.join(" and ");
    const message = `expected one of toeplitz, banded, blt; found ${found}`;
    complaints.push(tree.complain(["privacy", "noise"], message));
  }
  const truth = accountantOf({ train, privacy: { noise } });
  if (accountant !== null && accountant !== truth) {
    const message = `${NOT_TRUE[accountant]}; expected ${truth}: ${BECAUSE[truth]}`;
    complaints.push(tree.complain(["privacy", "accountant"], message));
  }
  if (participations !== 1) {
    const message = `expected 1, found ${participations}: a record takes part in one update of a run; a second pass over the same records is another run, and is charged as one`;
    complaints.push(tree.complain(["privacy", "participations"], message));
  }
  if (noise.kind === "banded" && noise.bands > noise.updates) {
    const message = `expected at most updates (${noise.updates}), found ${noise.bands}`;
    complaints.push(tree.complain(["privacy", "noise", "banded", "bands"], message));
  }
  return complaints;
}
