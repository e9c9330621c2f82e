import { join } from 'node:path';
import { selectBackend } from '@espalier/core/backend';
import { encodePng } from '@espalier/data';
import { writeWhole } from '@espalier/train';
import { printJson } from '../console.ts';
import { explanationOf, pictureOf, type ExplainedPlace } from '../explain/explanation.ts';
import { openModel } from '../model-directory.ts';
import { ExplainSettings } from '../settings.ts';
import { columns } from '../table.ts';
import { command } from './command.ts';

export const explain = command({
  name: 'explain',
  says: 'Show what a model\'s plugins see in an image and a question: pictures and numbers, with the plugins in force and without',
  examples: [`espalier explain --model out/gift --image scene.png --question 'what color is the circle?' --out out/explained`],
  settings: ExplainSettings,
  run: async ({ model: directory, weights, offline, backend, threads, image, question, out, json }, to) => {
    await selectBackend(backend, { threads });
    const opened = await openModel(directory, { weights, offline, note: (text) => to.err(`${text}\n`), signal: to.signal });
    try {
      const explanation = await explanationOf(opened, image, question);
      const { words, boxes, places } = explanation;
      const pictures: string[] = [];
      for (const place of places) {
        const picture = pictureOf(explanation, place);
        if (!picture) continue;
        const name = `${place.instance}.${place.path}.png`;
        await writeWhole(join(out, name), encodePng(picture));
        pictures.push(name);
      }
      await writeWhole(join(out, 'explanation.json'), new TextEncoder().encode(`${JSON.stringify({ image, question, words, boxes, places })}\n`));
      if (json) printJson(to, { type: 'explanation', image, question, out, pictures, places: places.map(({ instance, path, labels }) => ({ instance, path, labels })) });
      else to.out(`${table(places, words)}\n${pictures.length} pictures and explanation.json written to ${out}: a row for each of ${Object.keys(places[0]?.variants ?? {}).join(', ')}, a column for each label.\n`);
    } finally {
      opened.dispose();
    }
  },
});

/** Labels that the table shows; explanation.json has all. */
const MOST = 16;

/** For every place the word that each label scores highest, with the plugins in force. */
function table(places: readonly ExplainedPlace[], words: readonly string[]): string {
  const rows = places.flatMap(({ instance, path, labels, variants }) => {
    const [first] = Object.values(variants);
    const best = labels.map((_, m) => {
      const scores = first?.words[m] ?? [];
      return scores.length ? words[scores.indexOf(Math.max(...scores))]! : '';
    });
    return best.some(Boolean) ? [[instance, path, best.length > MOST ? `${best.slice(0, MOST).join(' ')} ...` : best.join(' ')]] : [];
  });
  return rows.length ? columns([['plugin', 'place', 'the word that each label scores highest'], ...rows]) : '';
}
