/**
 * What sealing costs: envelopes in one process beside the bare cipher and the peers, and records on a real Kafka
 * written sealed and read open beside the same records in the clear.
 *
 * In process: bench/encrypt/in-process.ts says who does what. Kafka: 1 KiB records of random bytes (sealed ones do not
 * compress, so nothing is compressed), one partition and four, through our own lane producers and partition readers in
 * one process, on the embedded broker on the same machine; a transaction is 2,000 records for both.
 */
import { inProcessRows } from "./encrypt/in-process.ts";
import { kafkaRows } from "./encrypt/kafka.ts";
import { NPM_PEERS, openNpmCodecs } from "./encrypt/npm-contenders.ts";
import { openTink, TINK_VERSION } from "./encrypt/tink-peer.ts";
import { tell } from "./lib/kafka-lab.ts";
import type { BenchOptions, BenchOutcome } from "./lib/report.ts";

export async function bench({ quick }: BenchOptions): Promise<BenchOutcome> {
  const codecs = await openNpmCodecs(tell);
  const tink = await openTink(tell);
  const rows = await inProcessRows({
    rounds: quick ? 3 : 15,
    turnMs: quick ? 60 : 300,
    codecs: typeof codecs === "string" ? [] : codecs,
    tink: typeof tink === "string" ? null : tink,
  });
  rows.push(
    ...(await kafkaRows(quick ? { rounds: 2, records: 8_000 } : { rounds: 9, records: 60_000 })),
  );
  const missing = ["Kroxylicious record encryption: not installed by this benchmark"];
  if (typeof tink === "string") missing.push(`Tink: ${tink}`);
  else tink.close();
  if (typeof codecs === "string") missing.push(`jose, AWS Encryption SDK: ${codecs}`);
  return { packages: [], versions: { ...NPM_PEERS, tink: TINK_VERSION }, rows, missing };
}
