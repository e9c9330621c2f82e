/**
 * The VQA score of an answer that `matches` of `n` annotators gave: the mean over the n sets of n-1 annotators of
 * min(1, matches in the set / 3). For n = 10: 0, .3, .6, .9, 1, 1, ... A single annotator has no other to agree with and
 * counts in full.
 */
export function softScore(matches: number, n = 10): number {
  if (n === 1) return Math.min(1, matches);
  return (matches * Math.min(1, (matches - 1) / 3) + (n - matches) * Math.min(1, matches / 3)) / n;
}

/** Soft scores of a question's answers that are in the vocabulary, by index. */
export function softScores(given: readonly string[], vocabulary: ReadonlyMap<string, number>): (readonly [answer: number, score: number])[] {
  const counts = new Map<string, number>();
  for (const answer of given) counts.set(answer, (counts.get(answer) ?? 0) + 1);
  return [...counts]
    .flatMap(([answer, count]) => {
      const index = vocabulary.get(answer);
      const score = softScore(count, given.length);
      return index === undefined || score === 0 ? [] : [[index, score] as const];
    })
    .sort(([a], [b]) => a - b);
}

/** An answer as it is compared: outer space cut, inner space single, lower case. */
export function normaliseAnswer(answer: string): string {
  return answer.trim().replace(/\s+/g, ' ').toLowerCase();
}

/** Answers given at least `minOccurrences` times, the most frequent first, equal counts by code point. */
export function answerVocabulary(answers: Iterable<string>, minOccurrences = 9): string[] {
  const counts = new Map<string, number>();
  for (const answer of answers) counts.set(answer, (counts.get(answer) ?? 0) + 1);
  return [...counts]
    .filter(([, count]) => count >= minOccurrences)
    .sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
    .map(([answer]) => answer);
}
