/** Networks in the ledger: versions, exact bytes, parameters as the network room counts them. */
import { describe, expect, test } from "vitest";
import { sign1 } from "../../pipeline/crypto/cose-sign1.ts";
import { type Network, parameterCount } from "../../pipeline/network/definition.ts";
import {
  contributionFractionBits,
  contributionSensitivity,
} from "../../pipeline/privacy/contribution.ts";
import { verifyLedger } from "../../pipeline/privacy/ledger.ts";
import { emptyLedger } from "../../pipeline/privacy/ledger-accounting.ts";
import {
  decodeLedgerEntry,
  encodeLedgerEntry,
  entryPayload,
  type LedgerEntry,
  versionFields,
} from "../../pipeline/privacy/ledger-entry.ts";
import { ledgerParameters, ledgerVersion } from "../../pipeline/privacy/ledger-network.ts";
import { entryFault } from "../../pipeline/privacy/ledger-rules.ts";
import { NETWORKS, PLAIN_NETWORKS } from "../network/random-networks.ts";
import { genesisEntry, options, PIPELINE, SIGNER } from "./ledger-world.ts";

const ALL = { ...NETWORKS, ...PLAIN_NETWORKS };
const IMAGE = NETWORKS["same, strides"]!;

/** The first entry of a ledger, of a run of that network. */
function entryOf(network: Network): LedgerEntry {
  const genesis = genesisEntry(emptyLedger(PIPELINE), 0);
  const { l2ClipNorm, microBatchRecords: places } = genesis;
  const sensitivity = contributionSensitivity({
    ...{ l2ClipNorm, parameters: parameterCount(network) },
    fractionBits: contributionFractionBits({ places, l2ClipNorm }),
  });
  return { ...genesis, ...versionFields({ network }), network, sensitivity };
}

const withText = (entry: LedgerEntry, change: (text: string) => string) =>
  decodeLedgerEntry(
    sign1({
      payload: Buffer.from(change(Buffer.from(entryPayload(entry)).toString())),
      ...{ signer: SIGNER, context: `sealstream/ledger/v1|${PIPELINE}` },
    }),
    options,
  );

test.each(Object.entries(ALL))("%s is counted and goes through a ledger", (_, network) => {
  expect(ledgerParameters(network)).toBe(parameterCount(network));
  const entry = entryOf(network);
  expect(entryFault(emptyLedger(PIPELINE), entry)).toBeNull();
  const value = encodeLedgerEntry(entry, SIGNER);
  expect(decodeLedgerEntry(value, options)).toMatchObject({ status: "ok", entry });
  expect(verifyLedger([value], options).findings).toEqual([]);
});

test("an entry has the lowest version that can say its network", () => {
  const names = (version: number) =>
    Object.keys(ALL).filter((name) => ledgerVersion(ALL[name]!) === version);
  expect(names(1)).toEqual(["linear"]);
  expect(names(3)).toEqual(["rnn with every state", ...Object.keys(PLAIN_NETWORKS)]);
});

test("the network's bytes", () => {
  expect(Buffer.from(entryPayload(entryOf(IMAGE))).toString()).toContain(
    '"network":{"inputs":70,"layers":[{"activation":{"polynomial":[0.25,0.5,0.125]},"filters":3,"input":[5,7,2],' +
      '"kernelSize":[2,4],"kind":"conv2d","outputs":27,"padding":"same","strides":[2,3]},' +
      '{"activation":"none","outputs":3}]},',
  );
});

describe("refuses", () => {
  const refused = { status: "refused", reason: "malformed" };
  test.each<[string, (text: string) => string]>([
    ["the lower version", (text) => text.replace('"version":2', '"version":1')],
    ["a version to come", (text) => text.replace('"version":2', '"version":3')],
    ["another kind", (text) => text.replace('"conv2d"', '"conv3d"')],
    ["a shape that does not follow", (text) => text.replace('"inputs":70', '"inputs":71')],
    ["a key more", (text) => text.replace('"filters":3', '"bias":1,"filters":3')],
    ["a polynomial that is a line", (text) => text.replace("[0.25,0.5,0.125]", "[0.25,0.5]")],
  ])("%s", (_, change) => {
    const entry = entryOf(IMAGE);
    expect(withText(entry, (text) => text).status).toBe("ok");
    expect(withText(entry, change)).toEqual(refused);
  });

  test.each<[string, string, (text: string) => string]>([
    ["the lower version", "gru", (text) => text.replace('"version":3', '"version":2')],
    ["a gru by another function", "gru", (text) => text.replace('"tanh"', '"relu"')],
    [
      "a key of a recurrent layer",
      "gru",
      (text) => text.replace('"kind":"gru"', '"kind":"gru","sequences":false'),
    ],
    [
      "states that cannot be cut into steps",
      "recurrent layers, stacked",
      (text) => text.replace('"outputs":12', '"outputs":13'),
    ],
    [
      "a norm by no epsilon",
      "layer norm of each step",
      (text) => text.replace('"epsilon":0.001,', ""),
    ],
    [
      "an embedding without rows",
      "embedding, gru",
      (text) => text.replace('"vocabulary":3', '"vocabulary":0'),
    ],
  ])("%s of version 3", (_, name, change) => {
    const entry = entryOf(ALL[name]!);
    expect(withText(entry, (text) => text).status).toBe("ok");
    expect(withText(entry, change)).toEqual(refused);
  });

  test("the higher version for a plain network", () => {
    const change = (text: string) => text.replace('"version":1', '"version":2');
    expect(withText(entryOf(NETWORKS["linear"]!), change)).toEqual(refused);
  });

  test("a sensitivity of another number of parameters", () => {
    const entry = { ...entryOf(IMAGE), sensitivity: entryOf(NETWORKS["rnn"]!).sensitivity };
    expect(entryFault(emptyLedger(PIPELINE), entry)).toMatchObject({
      message: expect.stringMatching(/sensitivity/),
    });
  });
});
