// Listens to subscriptions while something happens.

const TOLD_MILLISECONDS = 20_000;

// Subscribes to all, lets `happen` run, and returns the first notification of each and what `happen` returned.
export async function heard(subscriptions, happen) {
  // A subscription that is left open would keep the process alive.
  const enough = new AbortController();
  const abortSignal = AbortSignal.any([enough.signal, AbortSignal.timeout(TOLD_MILLISECONDS)]);
  const streams = await Promise.all(
    Object.values(subscriptions).map((pending) => pending.subscribe({ abortSignal })),
  );
  const firsts = Promise.all(
    streams.map(async (stream) => {
      for await (const news of stream) return news;
      throw new Error("the subscription ended without news");
    }),
  );
  const [told, result] = await Promise.all([firsts, happen()]);
  enough.abort();
  return [...told, result];
}

// Big integers as text: JSON has no other way to show them exactly.
export const replacer = (_, value) => (typeof value === "bigint" ? value.toString() : value);
