import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { directories } from '../fixtures/directories.ts';
import type { VqaRecord } from './dataset.ts';
import { labelAccuracy } from './label-accuracy.ts';
import { questionIdOf, writeSubmission } from './submission.ts';
import { vqaAccuracy } from './vqa-accuracy.ts';
import { readVqaAnnotations } from './vqa-annotations.ts';

let folders: Awaited<ReturnType<typeof directories>>;
beforeAll(async () => {
  folders = await directories();
});
afterAll(() => folders.remove());

const ten = (answer: string) => Array.from({ length: 10 }, (_, i) => ({ answer, answer_id: i + 1 }));

describe('writeSubmission', () => {
  const records = [{ id: 'test/262148000' }, { id: 'test/07' }];
  const answers = new Map([['test/07', 'a "red" dog'], ['test/262148000', 'yes']]);

  it("answers every question once, with the data set's own ids", async () => {
    const at = await folders.make('out', { 'x.txt': '' });
    const read = async (name: string) => readFile(path.join(at, name), 'utf8');
    await writeSubmission(path.join(at, 'vqa.json'), records, answers);
    expect(await read('vqa.json')).toBe('[\n{"question_id":262148000,"answer":"yes"},\n{"question_id":"07","answer":"a \\"red\\" dog"}\n]\n');
    await writeSubmission(path.join(at, 'gqa.json'), records, answers, 'gqa');
    expect(JSON.parse(await read('gqa.json'))).toEqual([{ questionId: '262148000', prediction: 'yes' }, { questionId: '07', prediction: 'a "red" dog' }]);
    await writeSubmission(path.join(at, 'nlvr2.csv'), [{ id: 'test/test1-0-1-0' }], new Map([['test/test1-0-1-0', 'False']]), 'nlvr2');
    expect(await read('nlvr2.csv')).toBe('test1-0-1-0,False\n');
    expect(await readdir(at)).toEqual(['gqa.json', 'nlvr2.csv', 'vqa.json', 'x.txt']);
    expect(['train/1', 'minival/0', 'a/01', 'a/n1', '5', 'a/99999999999999999999'].map((id) => questionIdOf({ id }))).toEqual([1, 0, '01', 'n1', 5, '99999999999999999999']);
  });

  it('writes nothing when a question is left out, there twice or unknown', async () => {
    const at = await folders.make('none', { 'x.txt': '' });
    const file = path.join(at, 'vqa.json');
    await expect(writeSubmission(file, records, new Map([['test/07', 'a']]))).rejects.toThrow('question test/262148000 has no answer; there are 1 answers for 2 questions');
    await expect(writeSubmission(file, [...records, { id: 'train/262148000' }], new Map([...answers, ['train/262148000', 'a']]))).rejects.toThrow('question 262148000 stands there twice');
    await expect(writeSubmission(file, records, new Map([...answers, ['test/8', 'a']]))).rejects.toThrow("'test/8' is no question of this split");
    await expect(writeSubmission(file, [], new Map())).rejects.toThrow('no questions to answer');
    await expect(writeSubmission(file, records, answers, 'nlvr2')).rejects.toThrow("is 'yes', expected True or False");
    expect(await readdir(at)).toEqual(['x.txt']);
  });

  it('gives what the official accuracy takes, with annotations as they were typed', async () => {
    const at = await folders.make('official', {
      'a.json': { annotations: [{ question_id: 262148000, answers: ten('Yes'), answer_type: 'yes/no', question_type: 'is the', multiple_choice_answer: 'yes' }, { question_id: '07', answers: [...ten('dog').slice(1), { answer: 'a Dog.' }] }, { question_id: 7 }] },
    });
    const { questions, report } = await readVqaAnnotations(path.join(at, 'a.json'));
    expect(questions[0]).toMatchObject({ questionId: 262148000, majority: 'yes', answerType: 'yes/no', questionType: 'is the' });
    expect(questions[0]!.answers[0]).toBe('Yes');
    expect(report).toMatchObject([{ what: 'not an annotation', count: 1 }]);
    const predictions = await writeSubmission(path.join(at, 'out.json'), records, new Map([['test/262148000', 'yes'], ['test/07', 'the dog']]));
    expect(vqaAccuracy(predictions, questions)).toMatchObject({ overall: 50, perAnswerType: { 'yes/no': 0, other: 100 } });
  });
});

describe('labelAccuracy', () => {
  const record = (id: string, scores: VqaRecord['scores']): VqaRecord => ({ id, image: 'x', question: 'q', scores, answerType: 'other', questionType: 'other' });
  const records = [record('a', [[0, 1]]), record('b', [[0, 0.3], [1, 0.6]]), record('c', []), record('d', [[1, 1]])];

  it("is the mean score of the label's answers", () => {
    const says = (...answers: readonly string[]) => new Map(answers.map((answer, i) => [records[i]!.id, answer]));
    expect(labelAccuracy(records, ['yes', 'no'], says('yes', 'no', 'yes', 'no'))).toBeCloseTo(2.6 / 4, 12);
    expect(labelAccuracy(records, ['yes', 'no'], says('maybe', 'yes', 'yes', 'yes'))).toBeCloseTo(0.3 / 4, 12);
    expect(() => labelAccuracy(records, ['yes'], says('yes'))).toThrow('record b has no prediction; there are 1 for 4 records');
    expect(() => labelAccuracy([], ['yes'], says())).toThrow('no records');
  });
});
