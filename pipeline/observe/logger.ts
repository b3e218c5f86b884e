/** Logs as JSON lines on standard error, by pino. Loggers get codes, names and counts; never record content. */
import { pino } from "pino";
import type { Logger } from "../stream/port.ts";

export type LogLevel = "silent" | "error" | "warn" | "info" | "debug";

const STANDARD_ERROR = 2;

/** @param base fields of every line, such as the stage's name */
export function createLogger(level: LogLevel, base: Readonly<Record<string, unknown>>): Logger {
  return pino({ level, base }, pino.destination({ dest: STANDARD_ERROR, sync: true }));
}
