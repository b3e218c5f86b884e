/** Reads the lanes of a topic: one after the other, or side by side where there is no end. */

/** What all lanes yield; in order within a lane. @param follow the lanes do not end by themselves */
export async function* readLanes<T>(
  lanes: readonly AsyncGenerator<T>[],
  follow: boolean,
): AsyncGenerator<T> {
  if (!follow) {
    for (const lane of lanes) {
      yield* lane;
    }
    return;
  }
  // The first that has something is yielded, then asked again.
  const next = new Map(lanes.map((lane) => [lane, take(lane)]));
  while (next.size > 0) {
    const { lane, result } = await Promise.race(next.values());
    if (result.done === true) {
      next.delete(lane);
    } else {
      next.set(lane, take(lane));
      yield result.value;
    }
  }
}

async function take<T>(lane: AsyncGenerator<T>) {
  return { lane, result: await lane.next() };
}
