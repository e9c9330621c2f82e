import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parseJson } from './json.ts';
import { contractions } from './vqa-contractions.ts';
import { vqaAccuracy, vqaScore, type AnnotatedQuestion } from './vqa-accuracy.ts';
import { processedAnswer } from './vqa-answer.ts';

const Scores = z.record(z.string(), z.number());
const Golden = z.object({
  processed: z.array(z.tuple([z.string(), z.string()])),
  questions: z.array(z.object({ id: z.int(), answers: z.array(z.string()), answerType: z.string(), questionType: z.string(), prediction: z.string(), score: z.number() })),
  accuracy: z.object({ overall: z.number(), perAnswerType: Scores, perQuestionType: Scores }),
  subsets: z.array(z.object({ ids: z.array(z.int()), accuracy: z.number() })),
});
// results of the official evaluation code on made-up answers
const file = new URL('../fixtures/vqa-accuracy.json', import.meta.url);
const golden = parseJson(readFileSync(file, 'utf8'), Golden, 'vqa-accuracy.json');
const questions = golden.questions.map(({ id, ...rest }): AnnotatedQuestion => ({ questionId: id, ...rest }));
const predictions = golden.questions.map(({ id, prediction }) => ({ question_id: id, answer: prediction }));

describe('the official VQA evaluation', () => {
  it(`processes ${golden.processed.length} answers alike`, () => {
    for (const [text, processed] of golden.processed) expect(processedAnswer(text), JSON.stringify(text)).toBe(processed);
    expect(contractions.size).toBe(120);
  });

  it(`gives ${golden.questions.length} questions, and all of them, the same accuracy`, () => {
    const { overall, perAnswerType, perQuestionType, perQuestion } = vqaAccuracy(predictions, questions);
    for (const { id, score, ...rest } of golden.questions) expect(perQuestion.get(id), JSON.stringify(rest)).toBe(score);
    expect({ overall, perAnswerType, perQuestionType }).toEqual(golden.accuracy);
  });

  it('rounds parts alike', () => {
    for (const { ids, accuracy } of golden.subsets) {
      const part = new Set<number | string>(ids);
      const of = vqaAccuracy(predictions.filter((p) => part.has(p.question_id)), questions.filter((q) => part.has(q.questionId)));
      expect(of.overall).toBe(accuracy);
    }
  });

  it('compares untouched what all annotators agree on', () => {
    const ten = (answer: string) => Array.from({ length: 10 }, () => answer);
    expect(vqaScore('the dog', ten('the dog'))).toBe(1);
    expect(vqaScore('dog', ten('the dog'))).toBe(0);
    expect(vqaScore('dog', [...ten('the dog').slice(1), 'a dog.'])).toBe(1);
    expect(vqaScore('Yes', ten('yes'))).toBe(0);
  });
});

describe('vqaAccuracy', () => {
  const one: AnnotatedQuestion = { questionId: 7, answers: ['yes', 'no'], answerType: 'yes/no', questionType: 'is' };
  it('wants every question answered once', () => {
    expect(() => vqaAccuracy([], [one])).toThrow('question 7 has no prediction');
    expect(() => vqaAccuracy([{ question_id: 7, answer: 'a' }, { question_id: 7, answer: 'b' }], [one])).toThrow('question 7 has two predictions');
    expect(() => vqaAccuracy([{ question_id: 7, answer: 'a' }, { question_id: 8, answer: 'b' }], [one])).toThrow('no question 8 among 1');
    expect(() => vqaAccuracy([{ question_id: 7, answer: 'a' }], [one, one])).toThrow('question 7 is annotated twice');
    expect(() => vqaAccuracy([{ question_id: 7, answer: 'a' }], [{ ...one, answers: [] }])).toThrow('question 7 has no answers');
    expect(() => vqaAccuracy([], [])).toThrow('there are no questions');
  });
});
