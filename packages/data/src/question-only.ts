import type { VqaRecord } from './dataset.ts';

const bestOf = (totals: ReadonlyMap<number, number>): number | undefined => [...totals].sort(([a, m], [b, n]) => n - m || a - b)[0]?.[0];

/**
 * The soft accuracy of a blind guesser: to each question of `test` the answer with the largest total score among
 * `train`'s records with the same key (default: the same words), or else among all of them. A model has to beat it to show
 * that it looks at the image.
 */
export function questionOnlyAccuracy(train: readonly VqaRecord[], test: readonly VqaRecord[], key: (record: VqaRecord) => string = (r) => r.question): number {
  const totals = new Map<string, Map<number, number>>();
  const overall = new Map<number, number>();
  for (const record of train) {
    const own = totals.get(key(record)) ?? new Map<number, number>();
    totals.set(key(record), own);
    for (const [answer, score] of record.scores) for (const total of [own, overall]) total.set(answer, (total.get(answer) ?? 0) + score);
  }
  const guesses = new Map([...totals].map(([question, own]) => [question, bestOf(own)]));
  const fallback = bestOf(overall);
  const sum = test.reduce((all, record) => {
    const guess = guesses.get(key(record)) ?? fallback;
    return all + (record.scores.find(([answer]) => answer === guess)?.[1] ?? 0);
  }, 0);
  return test.length ? sum / test.length : 0;
}
