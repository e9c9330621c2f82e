import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodePng, openData, type VqaData } from '@espalier/data';
import { accuracyChart, confusionChart, familyChart, toSvg, type MethodResult } from './charts.ts';
import { DATA, type Prediction } from './methods.ts';

/** Draws the comparison: accuracy against parameters, accuracy by family, confusion by answer type, right and wrong answers. */
export async function pictures(results: readonly (MethodResult & { readonly key: string; readonly predictions: readonly Prediction[] })[], out: string): Promise<string[]> {
  const written: string[] = [];
  const put = async (name: string, content: string | Uint8Array) => {
    await writeFile(join(out, name), content);
    written.push(join(out, name));
  };
  await put('accuracy.svg', await toSvg(accuracyChart(results)));
  await put('families.svg', await toSvg(familyChart(results)));
  const shown = results.find((r) => r.key === 'lora') ?? results[0]!;
  for (const type of [...new Set(shown.predictions.map((p) => p.answerType))]) {
    const pairs = shown.predictions.filter((p) => p.answerType === type).map((p) => ({ truth: p.answer, predicted: p.predicted }));
    await put(`confusion-${type.replace('/', '-')}.svg`, await toSvg(confusionChart(`${shown.backbone} ${shown.method}: ${type} questions`, pairs)));
  }
  const data = await openData(DATA);
  await put('samples.svg', await samples(`${shown.backbone} ${shown.method}`, shown.predictions, data));
  await put('image.png', await png(data, shown.predictions[0]!.image));
  return written;
}

const COLUMNS = 4;
const CELL = { width: 250, height: 150, picture: 96 };

/** Four questions answered right and four answered wrong, each with its picture. */
async function samples(title: string, predictions: readonly Prediction[], data: VqaData): Promise<string> {
  const right = predictions.filter((p) => p.answer === p.predicted);
  const wrong = predictions.filter((p) => p.answer !== p.predicted);
  const chosen = [...spread(right, COLUMNS), ...spread(wrong, COLUMNS)];
  const cells = await Promise.all(
    chosen.map(async (p, i) => {
      const x = (i % COLUMNS) * CELL.width + 12;
      const y = Math.floor(i / COLUMNS) * CELL.height + 44;
      const image = Buffer.from(await png(data, p.image)).toString('base64');
      const ok = p.answer === p.predicted;
      const verdict = ok ? `${p.predicted} (${(100 * p.probability).toFixed(0)} %)` : `${p.predicted} (${(100 * p.probability).toFixed(0)} %), is ${p.answer}`;
      return [
        `<image x="${x}" y="${y}" width="${CELL.picture}" height="${CELL.picture}" image-rendering="pixelated" href="data:image/png;base64,${image}"/>`,
        ...wrapped(p.question, 20).map((line, n) => `<text x="${x + CELL.picture + 8}" y="${y + 14 + 15 * n}">${escaped(line)}</text>`),
        `<text x="${x}" y="${y + CELL.picture + 18}" font-weight="bold" fill="${ok ? '#1a7f37' : '#b42318'}">${ok ? '✓' : '✗'} ${escaped(verdict)}</text>`,
      ].join('\n');
    }),
  );
  const [width, height] = [COLUMNS * CELL.width + 24, 2 * CELL.height + 56];
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="white"/>
<text x="12" y="24" font-size="15" font-weight="bold">${escaped(title)}: questions answered right, and wrong</text>
${cells.join('\n')}
</svg>
`;
}

/** Some of a list, evenly spread over it. */
const spread = <T>(list: readonly T[], n: number): T[] => Array.from({ length: Math.min(n, list.length) }, (_, i) => list[Math.floor((i * list.length) / n)]!);

function wrapped(text: string, width: number): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    if (`${lines.at(-1)} ${word}`.length > width && lines.at(-1)) lines.push(word);
    else lines[lines.length - 1] = `${lines.at(-1)} ${word}`.trim();
  }
  return lines;
}

const escaped = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

async function png(data: VqaData, image: string): Promise<Uint8Array> {
  if (!data.image) throw new Error(`${data.name} has no pictures`);
  return encodePng(await data.image(image));
}
