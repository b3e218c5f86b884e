/**
 * Health check of a stage's container: exits 0 when `/ready` answers 200.
 *
 * Plain JavaScript and no curl: the slim image has none. Usage: node deploy/stage-health.js PORT
 */
const port = Number(process.argv[2]);
const response = await fetch(`http://127.0.0.1:${port}/ready`).catch(() => null);
process.exitCode = response?.status === 200 ? 0 : 1;
