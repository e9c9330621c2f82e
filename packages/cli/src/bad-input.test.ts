import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeFeatures, writeShapes, type Regions } from '@espalier/data';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { capturedConsole } from './captured-console.ts';
import { runCommand } from './program.ts';

const folder = mkdtempSync(join(tmpdir(), 'espalier-bad-input-'));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (...names: string[]) => join(folder, ...names);

beforeAll(() => writeShapes(at('good'), { train: 8, test: 3 }));

/** A copy of the good data set, damaged. */
function damaged(name: string, damage: (directory: string) => void): string {
  cpSync(at('good'), at(name), { recursive: true });
  damage(at(name));
  return `easy-vqa:${at(name)}`;
}

/** Questions of a split, changed. */
function questions(directory: string, split: string, change: (all: unknown[][]) => unknown[]): void {
  const file = join(directory, split, 'questions.json');
  writeFileSync(file, JSON.stringify(change(JSON.parse(readFileSync(file, 'utf8')))));
}

const quick = ['--size', 'tiny', '--features', 'components', '--epochs', '1', '--backend', 'cpu'];
let run = 0;

/** What a command that fails says. */
async function refusal(args: readonly string[], expected = 1): Promise<string> {
  const to = capturedConsole();
  const code = await runCommand(args, to);
  expect([code, to.printed.err]).toEqual([expected, expect.stringMatching(/./)]);
  expect(to.printed.out).not.toMatch(/"type":"summary"/);
  return to.printed.err;
}
const training = (...args: string[]) => refusal(['train', ...quick, '--out', at(`run-${run++}`), ...args]);

describe('images', () => {
  it('a truncated PNG is named', async () => {
    const data = damaged('truncated', (d) => truncateSync(join(d, 'train', 'images', '3.png'), 60));
    expect(await training('--data', data)).toMatch(/train\/images\/3\.png/);
  });

  it('a missing PNG and other bad records are skipped, counted and said', async () => {
    const data = damaged('missing', (d) => {
      rmSync(join(d, 'train', 'images', '3.png'));
      questions(d, 'test', ([first, second, ...rest]) => [[first![0], first![1]], [second![0], 'unheard of', second![2]], ...rest]);
    });
    const to = capturedConsole();
    expect(await runCommand(['train', ...quick, '--data', data, '--out', at('missing-run')], to)).toBe(0);
    const [, skipped] = /records skipped +(\d+)/.exec(to.printed.out) ?? [];
    expect(Number(skipped)).toBeGreaterThan(2);
    expect(to.printed.err).toMatch(/train\/questions\.json: \d+ of \d+ records skipped \(image missing\): record \d+: .*images\/3\.png/);
    expect(to.printed.err).toMatch(/test\/questions\.json: 1 of \d+ records skipped \(not \[question, answer, image\]\)/);
    expect(to.printed.err).toMatch(/records skipped \(unknown answer\): record 1: answer 'unheard of' is not in answers\.txt/);
  });

  it('predict names an image that is none, and one that is not there', async () => {
    writeFileSync(at('text.png'), 'no picture');
    const ask = (image: string) => refusal(['predict', '--model', at('missing-run'), '--image', image, '--question', 'how many?', '--backend', 'cpu']);
    expect(await ask(at('text.png'))).toMatch(/text\.png/);
    expect(await ask(at('absent.png'))).toMatch(/--image .*absent\.png cannot be read \(ENOENT/);
    expect(await refusal(['predict', '--model', at('missing-run'), '--question', 'how many?'], 2)).toMatch(/--image is missing/);
    expect(await refusal(['predict', '--model', at('good'), '--image', 'x.png', '--question', 'how many?', '--backend', 'cpu'])).toMatch(/good: no manifest\.json here/);
  });
});

describe('splits', () => {
  it('an empty one is refused', async () => {
    const data = damaged('empty', (d) => {
      questions(d, 'train', () => []);
      rmSync(join(d, 'train', 'families.json'));
    });
    expect(await training('--data', data)).toMatch(/train\/questions\.json: the split is empty\. It needs at least one question/);
  });

  it('one that is mostly bad is refused with examples', async () => {
    const data = damaged('bad', (d) => questions(d, 'train', (all) => all.map(([q, , image]) => [q, 'maybe', image])));
    expect(await training('--data', data)).toMatch(/records are bad, so this is likely not the file it should be\.\n.*unknown answer.*'maybe' is not in answers\.txt/);
  });

  it('a directory that is no data set, and a misspelt kind, are named', async () => {
    expect(await training('--data', `easy-vqa:${at('nowhere')}`)).toMatch(/nowhere.*An easy-VQA directory holds/);
    expect(await training('--data', 'shape:10')).toMatch(/no kind of data 'shape'\. Did you mean 'shapes'\?/);
    expect(await training('--data', 'shapes:many')).toMatch(/'many' is no number of images/);
  });
});

describe('features', () => {
  const regions = (width: number): Regions => ({ features: new Float32Array(2 * width).fill(0.5), boxes: Float32Array.of(0, 0, 64, 64, 0, 0, 32, 32), width: 64, height: 64 });

  /** A VQA v2 directory of four questions with features of a width. */
  async function vqa2(name: string, width: number): Promise<string> {
    mkdirSync(at(name));
    const ids = [1, 2, 3, 4];
    writeFileSync(at(name, 'train.questions.json'), JSON.stringify({ questions: ids.map((id) => ({ question_id: id, image_id: id, question: 'is it red?' })) }));
    writeFileSync(at(name, 'train.annotations.json'), JSON.stringify({ annotations: ids.map((id) => ({ question_id: id, answers: [{ answer: id % 2 ? 'yes' : 'no' }] })) }));
    writeFileSync(at(name, 'answers.json'), JSON.stringify(['yes', 'no']));
    await writeFeatures(at(name, 'train.features.safetensors'), 'a test', ids.map((id) => [String(id), regions(width)] as const));
    return `vqa2:${at(name)}`;
  }

  it('raw images are refused by a backbone of detector features', async () => {
    expect(await training('--size', 'base', '--backbone', 'lxmert', '--data', 'shapes:8')).toMatch(
      /shapes: raw images by featuriser components.*: 192 numbers per region, but lxmert base \(visual_feat_dim\) takes 2048\. That backbone needs pre-extracted features/,
    );
  });

  it('extracted features of another width are refused by file and key', async () => {
    expect(await training('--data', await vqa2('wide', 7), '--features', 'file')).toMatch(/wide\/train\.features\.safetensors: 7 numbers per region, but vl-bert tiny \(feat_dim\) takes 192/);
    expect(await training('--data', `vqa2:${at('wide')}`)).toMatch(/vqa2:.*wide reads pre-extracted regions and no images\. Use featuriser 'file'/);
    expect(await training('--data', 'shapes:8', '--features', 'file')).toMatch(/shapes is drawn, it has no features file/);
    expect(await training('--data', 'shapes:8', '--features', 'gird')).toMatch(/no featuriser 'gird'\. Did you mean 'grid'\?/);
  });

  it('of the right width train without a test split; predict then refuses an image', async () => {
    const data = await vqa2('right', 192);
    const to = capturedConsole();
    expect(await runCommand(['train', '--size', 'tiny', '--epochs', '1', '--backend', 'cpu', '--data', data, '--out', at('extracted'), '--json'], to)).toBe(0);
    expect(to.objects().at(-1)).toMatchObject({ type: 'summary', split: 'validation', trainQuestions: 3, questions: 1 });
    const predict = await refusal(['predict', '--model', at('extracted'), '--image', at('good', 'test', 'images', '0.png'), '--question', 'is it red?', '--backend', 'cpu']);
    expect(predict).toMatch(/extracted was trained on extracted features \(192 numbers per region\), which cannot be made from an image here/);
    expect(await refusal(['eval', '--model', at('extracted'), '--split', 'test', '--backend', 'cpu'], 2)).toMatch(/no answered questions in the split 'test'\. Choose another --split/);
  });

  it('a TSV line with the wrong number of fields is named', async () => {
    await vqa2('fields', 192);
    rmSync(at('fields', 'train.features.safetensors'));
    writeFileSync(at('fields', 'train.tsv'), '1\t64\t64\n');
    expect(await training('--data', `vqa2:${at('fields')}`, '--features', 'file')).toMatch(/fields\/train\.tsv(:|, line )1.*3 /);
  });
});

describe('names', () => {
  it('of plugins, roles, options, backends and commands are compared with the nearest', async () => {
    expect(await training('--plugin', 'lor')).toMatch(/no plugin 'lor'.*Did you mean 'lora'\?.*Install it with npm install @espalier\/lor/);
    expect(await training('--plugin', 'lora:{"at":{"role":"attention.qery"}}', '--data', 'shapes:8')).toMatch(/'attention\.qery' is not a role.*Did you mean 'attention\.query'/);
    expect(await training('--plugin', 'lora:{"rnk":8}')).toMatch(/'lora' has no option 'rnk'\. Did you mean 'rank'\?/);
    expect(await training('--backend', 'wsam')).toMatch(/no backend 'wsam'\. Did you mean 'wasm'\?/);
    expect(await refusal(['trian'], 2)).toMatch(/unknown command 'trian'\s+\(Did you mean train\?\)/);
    expect(await refusal(['train', '--plugn', 'lora'], 2)).toMatch(/unknown option '--plugn'\s+\(Did you mean --plugin\?\)/);
    expect(await refusal(['train', '--plugin', 'lora:{"rank":}'], 2)).toMatch(/plugin 'lora', options: not JSON at line 1, column 9/);
    expect(await refusal([], 2)).toMatch(/Usage: espalier/);
  });
});

describe('a directory that holds a run', () => {
  it('is refused without --resume, and with it for another configuration', async () => {
    const args = ['train', ...quick, '--data', 'shapes:8', '--out', at('run')];
    expect(await runCommand(args, capturedConsole())).toBe(0);
    expect(await refusal(args, 2)).toMatch(/--out .*run holds a run already \(summary\.json, manifest\.json, checkpoints, metrics\.jsonl\)\. Go on with it by --resume/);
    const other = await refusal([...args, '--resume', '--batch-size', '8', '--lr', '0.01']);
    expect(other).toMatch(/cannot resume from .*another configuration\.\n[^]* {2}optimisers\.default\.rate: 0\.001 in the checkpoint, 0\.01 now\n[^]*task\.batchSize: 32 in the checkpoint, 8 now\n[^]*or start a new run in another directory/);
    expect(await runCommand([...args, '--resume'], capturedConsole())).toBe(0);
  });

  it('that is empty is begun anew with --resume, and that is said', async () => {
    const to = capturedConsole();
    expect(await runCommand(['train', ...quick, '--data', 'shapes:8', '--out', at('new'), '--resume'], to)).toBe(0);
    expect(to.printed.err).toMatch(/new holds no whole checkpoint: the run begins anew/);
  });
});
