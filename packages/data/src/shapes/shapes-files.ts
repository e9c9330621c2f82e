import { mkdir, readdir, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { DataError } from '../errors.ts';
import { encodePng } from '../image.ts';
import { shapesAnswers } from './attributes.ts';
import { shapesSettings, shapesSplit, type ShapesOptions } from './generation.ts';
import { renderScene } from './raster.ts';

/**
 * Writes generated data as an easy-VQA directory: `answers.txt`, `shapes.json` (the options), and in `train/` and `test/`
 * `questions.json`, `families.json` and `images/NUMBER.png`. Equal options give equal bytes. The directory appears whole
 * or not at all. @throws DataError when it exists and is not empty.
 */
export async function writeShapes(directory: string, options: ShapesOptions = {}): Promise<void> {
  const settings = shapesSettings(options);
  const there = await readdir(directory).catch(() => undefined);
  if (there?.length) throw new DataError(`${directory} is not empty. Name a new directory, or remove that one.`);
  const temporary = `${path.resolve(directory)}.${process.pid}.partial`;
  try {
    for (const split of ['train', 'test'] as const) {
      const { scenes, questions } = shapesSplit(split, settings);
      const folder = path.join(temporary, split);
      await mkdir(path.join(folder, 'images'), { recursive: true });
      for (const [place, scene] of scenes.entries()) await writeFile(path.join(folder, 'images', `${place}.png`), encodePng(renderScene(scene)));
      await writeFile(path.join(folder, 'questions.json'), json(questions.map(({ question, answer, image }) => [question, answer, image])));
      await writeFile(path.join(folder, 'families.json'), json(questions.map(({ family }) => family)));
    }
    await writeFile(path.join(temporary, 'answers.txt'), `${shapesAnswers.join('\n')}\n`);
    await writeFile(path.join(temporary, 'shapes.json'), `${JSON.stringify(settings)}\n`);
    if (there) await rmdir(directory);
    await rename(temporary, directory);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

/** A record on each line. */
const json = (records: readonly unknown[]) => `[\n${records.map((r) => JSON.stringify(r)).join(',\n')}\n]\n`;
