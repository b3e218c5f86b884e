import { createParameters } from "../pipeline/ckks/parameters.ts";
import { openContext } from "../pipeline/ckks/seal.ts";
import { planSlots } from "../pipeline/ckks/slots/plan.ts";
import { readDigits, trainDigits } from "./ckks/fixtures.ts";
import { denseCircuit, runCircuit } from "./ckks/slots/circuits.ts";
import { parties, plainEvaluator, evaluateBlob, logitsOf } from "./ckks/slots/harness.ts";
import { argmax } from "../pipeline/network/forward.ts";
const digits = readDigits();
const { network, weights } = trainDigits(digits, 1000);
const c = denseCircuit(network, weights);
const only = process.argv[2];
for (const [N, bits, prefer, mode, goal] of [
 [4096,[40,33,36],"replicated","shared",60],[4096,[37,36,36],"replicated","shared",60],[4096,[36,36,17,20],"replicated","shared",60],[4096,[31,31,17,30],"replicated","shared",60],
 [8192,[48,40,48],"replicated","shared",60],[8192,[49,40,30,49],"replicated","shared",4],[8192,[49,40,30,49],"replicated","shared",60],[8192,[49,40,30,49],"diagonal","shared",4],
 [8192,[46,34,34,34,46],"replicated","secret",4],[8192,[46,34,34,34,46],"diagonal","secret",4]] as any) {
  if (only && !bits.join(".").startsWith(only)) continue;
  const p = createParameters(N, bits, 20);
  const ckks = await openContext(p);
  const plan = planSlots(c, p, ckks.primes, { mode, prefer, precisionBits: goal });
  const on = await parties(p, plan.rotationSteps);
  const ev = plainEvaluator(on, plan);
  const R = plan.recordsPerCiphertext;
  const zero = mode === "shared" ? undefined : on.zero(plan.outputLimbs);
  let maxErr = 0, same = 0, n = 0, refErr = 0, refSame = 0; const ours: number[] = [], theirs: number[] = [];
  const cpu = () => { const u = process.threadCpuUsage(); return (u.user + u.system) / 1e3; };
  const total = R > 4 ? 256 : 60;
  for (let first = 0; first < total; first += R) {
    const blob = on.encrypt(plan, R, (r, f) => digits.pixels[(first + r) * 64 + f]!);
    let t = cpu();
    const out = evaluateBlob(on, plan, ev, { blob, records: R, ...(zero && { zero }) });
    ours.push(cpu() - t);
    const slots = on.decrypt(out);
    let rs: Float64Array | null = null;
    if (prefer === "replicated" && mode === "shared" && first < 30*R) { t = cpu(); const rb = on.reference(plan, blob, R); theirs.push(cpu() - t); rs = on.decrypt(rb); }
    for (let r = 0; r < R; r++) { const want = runCircuit(c, digits.pixels.subarray((first+r)*64, (first+r)*64+64)); const got = logitsOf(plan, slots, r);
      n++; if (argmax(want) === argmax(got)) same++; want.forEach((v, i) => { maxErr = Math.max(maxErr, Math.abs(v - got[i]!)); });
      if (rs) { const g = logitsOf(plan, rs, r); if (argmax(want) === argmax(g)) refSame++; want.forEach((v, i) => { refErr = Math.max(refErr, Math.abs(v - g[i]!)); }); } }
  }
  const med = (a: number[]) => [...a].sort((x, y) => x - y)[a.length >> 1]?.toFixed(2);
  console.log(N, bits.join("."), prefer, mode, "R", R, plan.scales.structure.steps.map(s=>(s.early?"e":"-")+(s.late?"l":"-")+(s.square?"s":"-")).join(" "), "predicted", plan.precisionBits.toFixed(1), "measured", (-Math.log2(maxErr)).toFixed(1), "err", maxErr.toExponential(2), "same", same, "/", n, "ref err", refErr.toExponential(2), refSame, "ms ours", med(ours), "seal", med(theirs), "in the", on.ring.variant);
}
