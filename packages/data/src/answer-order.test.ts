import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { answerOrderOf, permutationBetween, pythiaOrder } from './answer-order.ts';
import { readJson } from './json-file.ts';
import { convertedAnswer, readPretrainingAnswers, rowsFromPretraining } from './pretraining-answers.ts';

const lxmert = ['', 'yes', 'no', '\u{1F600}', '\uFF01', '1', 'no way'];

describe('orders of answers', () => {
  it('Pythia: <unk>, then by code point', () => {
    expect(pythiaOrder(lxmert)).toEqual(['<unk>', '1', 'no', 'no way', 'yes', '\uFF01', '\u{1F600}']);
    expect(() => pythiaOrder(['yes', 'no'])).toThrow("the first one is 'yes', expected the empty string");
  });

  it('are told apart', () => {
    expect([lxmert, pythiaOrder(lxmert), ['yes', 'no'], ['<unk>', 'b', 'a']].map(answerOrderOf)).toEqual(['lxmert', 'pythia', undefined, undefined]);
  });

  it('are permutations of each other but for the first answer', () => {
    const pythia = pythiaOrder(lxmert);
    const there = permutationBetween(lxmert, pythia);
    expect(there).toEqual([-1, 5, 2, 6, 1, 4, 3]);
    const back = permutationBetween(pythia, lxmert);
    expect(back.map((row) => (row < 0 ? -1 : there[row]))).toEqual([-1, 1, 2, 3, 4, 5, 6]);
    expect(() => permutationBetween(['a', 'b', 'a'], ['a'])).toThrow("'a' stands there twice");
    expect(() => permutationBetween(['a'], ['b', 'b'])).toThrow("'b' stands there twice");
  });
});

describe("answers of LXMERT's pre-training", () => {
  it('are found under their converted name', () => {
    const expected = { '': '', 'Yes.': 'yes', 'a man': 'man', 'the woman': 'woman', 'The Dog .': 'dog', 'a the dog': 'dog', 'an a dog': 'a dog', two: '2', 'a two.': '2', Grey: 'gray', eleven: 'eleven', 'no..': 'no.', another: 'another' };
    expect(Object.fromEntries(Object.keys(expected).map((answer) => [answer, convertedAnswer(answer)]))).toEqual(expected);
    expect(rowsFromPretraining(['two', 'zebra', 'The man'], ['man', '2', 'no'])).toEqual([1, -1, 0]);
  });
});

const lists = fileURLToPath(new URL('../../../../shared/data/vqa-answers', import.meta.url));

describe.skipIf(!existsSync(lists))('the published lists of answers', () => {
  const read = () => readJson(path.join(lists, 'trainval_label2ans.json'), z.array(z.string()), '');

  it("give Pythia's file byte for byte", async () => {
    const answers = await read();
    expect([answers.length, answerOrderOf(answers)]).toEqual([3129, 'lxmert']);
    const pythia = pythiaOrder(answers);
    expect(createHash('md5').update(`${pythia.join('\n')}\n`).digest('hex')).toBe('971cad957919ff2cf1f5f1c70bef4d90');
    expect(answerOrderOf(pythia)).toBe('pythia');
    expect(permutationBetween(answers, pythia).filter((row) => row < 0).length).toBe(1);
  });

  it("know 3124 of the 3129 answers from LXMERT's pre-training", async () => {
    const known = await readPretrainingAnswers(path.join(lists, 'all_ans.json'));
    expect(known.length).toBe(9500);
    expect(rowsFromPretraining(await read(), known).filter((row) => row >= 0).length).toBe(3124);
  });
});
