/** Numbers as people read them: three significant digits, thousands apart, units where a number alone says little. */

const DIGITS = 3;
const KIB = 1024;

/** `2,944`, `0.0271`, `13` */
export function amount(value: number): string {
  if (Math.abs(value) >= 10 ** (DIGITS - 1)) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(DIGITS)));
}

/** `4.2 MiB` */
export function size(bytes: number): string {
  if (bytes < KIB) return `${Math.ceil(bytes)} B`;
  if (bytes < KIB ** 2) return `${amount(bytes / KIB)} KiB`;
  return `${amount(bytes / KIB ** 2)} MiB`;
}

/** `1 rotation`, `11 rotations` */
export function count(of: number, noun: string): string {
  return `${amount(of)} ${noun}${of === 1 ? "" : "s"}`;
}
