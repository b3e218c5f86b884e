/** A time limit for work that may hang in a client library. */
import type { SealstreamError } from "../errors.ts";

/**
 * Fails when work takes too long; what it comes to later is nobody's.
 * @param onLate called once when the time is up, for what is to be thrown away then; gives the error
 */
export async function within<T>(
  ms: number,
  work: Promise<T>,
  onLate: () => SealstreamError,
): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(onLate()), ms);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
