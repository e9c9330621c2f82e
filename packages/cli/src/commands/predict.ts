import { selectBackend } from '@espalier/core/backend';
import { downloads, printJson } from '../console.ts';
import { openModel } from '../model-directory.ts';
import { predict as ask } from '../prediction.ts';
import { PredictSettings } from '../settings.ts';
import { columns, percent } from '../table.ts';
import { command } from './command.ts';

export const predict = command({
  name: 'predict',
  says: 'Answer a question about an image',
  examples: [`espalier predict --model out/run-1 --image scene.png --question 'how many circles are there?' --top 3`],
  settings: PredictSettings,
  run: async ({ model: directory, weights, offline, backend, threads, image, question, top, json }, to) => {
    await selectBackend(backend, { threads });
    const opened = await openModel(directory, { weights, offline, ...downloads(to) });
    try {
      const result = await ask(opened, { image, question, top });
      if (result.unknownWords) to.err(`${result.unknownWords} of the question's word pieces are not in the model's vocabulary\n`);
      if (json) printJson(to, result);
      else
        to.out(
          `${columns([['answer', 'probability'], ...result.answers.map((a) => [a.answer, percent(a.probability)])])}\nProbabilities are sigmoids of the logits, one yes-or-no decision per answer, so they need not sum to 100 %.\n`,
        );
    } finally {
      opened.dispose();
    }
  },
});
