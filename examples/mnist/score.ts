/**
 * How many predictions are right: `sealstream predictions FILE | node examples/mnist/score.ts FOLDER/answers.ndjson`.
 */
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const file = process.argv[2];
if (file === undefined) {
  process.stderr.write("Name the answers: node examples/mnist/score.ts my-mnist/answers.ndjson\n");
  process.exitCode = 2;
} else {
  const answers = new Map<string, number>();
  for (const line of readFileSync(file, "utf8").split("\n")) {
    if (line === "") continue;
    // Because write-records.ts wrote the file.
    const { imageId, digit } = JSON.parse(line) as { imageId: string; digit: number };
    answers.set(imageId, digit);
  }
  let [right, known] = [0, 0];
  for await (const line of createInterface({ input: process.stdin })) {
    // Because `sealstream predictions` prints one such object a line.
    const { recordId, label } = JSON.parse(line) as { recordId: string; label: number };
    const digit = answers.get(recordId);
    if (digit === undefined) continue;
    known += 1;
    right += digit === label ? 1 : 0;
  }
  const share = known === 0 ? 0 : (100 * right) / known;
  process.stdout.write(`${right} of ${known} predictions are right: ${share.toFixed(2)} %\n`);
}
