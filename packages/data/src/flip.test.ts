import { describe, expect, it } from 'vitest';
import { batches } from './batches.ts';
import type { VqaRecord } from './dataset.ts';
import { flippedRecord, flippedRegions, flippedText, flips, mirroredAnswers } from './flip.ts';

const answers = ['left', 'right', 'left hand', 'right hand', 'left side', 'red'];
const record = (id: string, answer: number): VqaRecord => ({ id, image: id, question: 'what is on the left?', scores: [[answer, 0.6], [5, 0.3]], answerType: 'other', questionType: 'what' });

describe('flip', () => {
  it('exchanges the words left and right', () => {
    const pairs = { 'Is the left dog right?': 'Is the right dog left?', 'LEFT-handed': 'RIGHT-handed', 'Left': 'Right', 'leftover bright copyright left1': 'leftover bright copyright left1', '': '', "right's": "left's" };
    for (const [text, mirrored] of Object.entries(pairs)) {
      expect(flippedText(text)).toBe(mirrored);
      expect(flippedText(mirrored)).toBe(text);
    }
  });

  it('mirrors boxes and keeps features', () => {
    const regions = { features: Float32Array.of(1, 2), boxes: Float32Array.of(10, 20, 30, 40, 0, 0, 100, 50), width: 100, height: 50 };
    expect(flippedRegions(regions)).toEqual({ ...regions, boxes: Float32Array.of(69, 20, 89, 40, 0, 0, 99, 50) });
    expect([...regions.boxes.slice(0, 4)]).toEqual([10, 20, 30, 40]);
  });

  it('moves scores to the mirrored answer, or drops them', () => {
    const mirrored = mirroredAnswers(answers);
    expect(mirrored).toEqual([1, 0, 3, 2, -1, 5]);
    expect(flippedRecord(record('a', 2), mirrored)).toMatchObject({ question: 'what is on the right?', scores: [[3, 0.6], [5, 0.3]] });
    expect(flippedRecord(record('a', 4), mirrored).scores).toEqual([[5, 0.3]]);
  });

  it('is drawn for a sample of an epoch', () => {
    const ids = Array.from({ length: 1000 }, (_, i) => `train/${i}`);
    const drawn = (seed: number, epoch: number, share?: number) => ids.filter((id) => flips(id, { seed, epoch, ...(share !== undefined && { share }) }));
    expect(drawn(1, 0)).toEqual(drawn(1, 0));
    expect(drawn(1, 0)).not.toEqual(drawn(1, 1));
    expect(drawn(1, 0)).not.toEqual(drawn(2, 0));
    expect(drawn(1, 0).length).toBeGreaterThan(430);
    expect(drawn(1, 0).length).toBeLessThan(570);
    expect([drawn(1, 0, 0).length, drawn(1, 0, 1).length]).toEqual([0, 1000]);
    expect(() => drawn(1, 0, 2)).toThrow('flip: share is 2');
  });
});

describe('batches with flip', () => {
  const data = { answers, featureSize: 1, regions: () => Promise.resolve({ features: Float32Array.of(7), boxes: Float32Array.of(10, 0, 20, 5), width: 100, height: 50 }) };
  const tokenizer = { encode: (text: string) => [text.includes('left') ? 1 : 2] };
  const records = Array.from({ length: 8 }, (_, i) => record(`train/${i}`, 2));

  it('mirrors question, boxes and targets of the same samples, in whatever batch they stand', async () => {
    const seen: Record<string, readonly number[]> = {};
    for (const [batchSize, shuffle] of [[8, undefined], [3, { seed: 9, epoch: 4 }]] as const)
      for await (const batch of batches(records, { data, tokenizer, batchSize, questionBucket: 1, regionBucket: 1, flip: { seed: 5, epoch: 4 }, ...(shuffle && { shuffle }) }))
        batch.ids.forEach((id, b) => {
          const found = [batch.questions[b]!, batch.boxes[4 * b]!, batch.targets[6 * b + 2]!, batch.targets[6 * b + 3]!, batch.features[b]!].map((x) => Math.round(x * 10) / 10);
          expect(found).toEqual(flips(id, { seed: 5, epoch: 4 }) ? [2, 79, 0, 0.6, 7] : [1, 10, 0.6, 0, 7]);
          expect(seen[id] ?? found).toEqual(found);
          seen[id] = found;
        });
    expect(new Set(Object.values(seen).map(([q]) => q))).toEqual(new Set([1, 2]));
  });
});
