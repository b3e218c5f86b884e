/**
 * `${VAR}` and `${VAR:default}` in the strings of a pipeline file, filled from the environment that is handed in.
 *
 * `$${` stands for `${` itself. The default ends at the first `}`. An empty variable counts as set, as in a shell
 * without `:-`. Values are put in after the YAML was read, so they cannot add keys or change the structure.
 */

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Interpolation {
  readonly text: string;
  /** Whether anything came from the environment or a default. */
  readonly touched: boolean;
  /** Names without a value or default, and forms that are not understood; each is a sentence. */
  readonly complaints: readonly string[];
}

/** Group 1: the escape; 2: the name; 3: the default, with its colon; no group: a form that is not understood. */
const REFERENCE = /(\$\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)(:[^}]*)?\}|\$\{[^}]*\}?/g;

/** What a reference begins with, and what `$${` stands for. */
const OPENING = "$" + "{";

/** Fills the references of one string. */
export function interpolate(text: string, env: Environment): Interpolation {
  let touched = false;
  const complaints: string[] = [];
  const filled = text.replace(
    REFERENCE,
    (_whole, escaped?: string, name?: string, fallback?: string) => {
      touched = true;
      if (escaped !== undefined) return OPENING;
      if (name === undefined) {
        complaints.push(`expected \${NAME} or \${NAME:default} of an environment variable`);
        return "";
      }
      const value = env[name];
      if (value !== undefined) return value;
      if (fallback !== undefined) return fallback.slice(1);
      complaints.push(
        `environment variable ${name} is not set: set it, or write \${${name}:default}`,
      );
      return "";
    },
  );
  return { text: filled, touched, complaints };
}
