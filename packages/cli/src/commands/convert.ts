import { readFile } from 'node:fs/promises';
import { permutationBetween, readAnswers, readPretrainingAnswers, rowsFromPretraining } from '@espalier/data';
import { configurationIn, openWeights, weightsOf } from '@espalier/pretrained';
import { backbone, backbones, type Backbone } from '@espalier/vl-models';
import { filesOf } from '../backbone-weights.ts';
import { downloads, printJson } from '../console.ts';
import { converted, target, writeBeside, writeCheckpoint } from '../conversion.ts';
import { UsageError } from '../errors.ts';
import { ConvertSettings } from '../settings.ts';
import { command } from './command.ts';

export const convert = command({
  name: 'convert',
  says: 'Write a checkpoint in another format, under other names, in another type, or with its answers in another order',
  examples: [
    'espalier convert --from model_LXRT.pth --to lxmert.safetensors --backbone lxmert --names canonical',
    'espalier convert --from unc-nlp/lxmert-base-uncased --to weights/lxmert-half --dtype F16',
    'espalier convert --from weights/vqa --to weights/pythia --answers-from trainval_label2ans.json --answers-to answers_vqa.txt',
  ],
  settings: ConvertSettings,
  run: async ({ from, to, names, dtype, backbone: named, answersFrom, answersTo, offline, json }, out) => {
    if ((answersFrom === undefined) !== (answersTo === undefined)) throw new UsageError('--answers-from and --answers-to go together: the order of the checkpoint, and the one that is wanted');
    const place = target(to);
    const { files } = await filesOf(from, { offline, ...downloads(out) });
    const weights = weightsOf(files);
    if (weights === undefined) throw new UsageError(`--from ${from} holds no weights`);
    const config = await configurationIn(files);
    const kind = kindOf(config, named);
    if (!kind && (names !== 'stored' || answersTo !== undefined)) throw new UsageError(`whose names they are is not known (no config.json with model_type beside ${weights}): give --backbone ${[...backbones.keys()].join(', ')}`);
    const rows = answersFrom !== undefined && answersTo !== undefined ? await rowsBetween(answersFrom, answersTo) : undefined;
    const checkpoint = await openWeights(weights);
    try {
      const tensors = converted(checkpoint, { names, kind, config: config ?? {}, dtype, rows });
      const bytes = await writeCheckpoint(place.file, place.format, tensors, checkpoint.metadata);
      const changed = rows && kind && config ? { ...config, [kind.answersKey]: rows.length } : undefined;
      const beside = place.directory === undefined ? [] : await writeBeside(place.directory, files, changed);
      const missing = rows?.filter((row) => row < 0).length ?? 0;
      if (json) printJson(out, { type: 'convert', from: weights, format: checkpoint.format, to: place.file, written: place.format, tensors: tensors.length, bytes, beside, ...(rows && { answers: rows.length, answersWithoutRow: missing }) });
      else
        out.out(
          `${weights} (${checkpoint.format}): ${tensors.length} tensors, ${(bytes / 1e6).toFixed(1)} MB, written to ${place.file} (${place.format})${beside.length ? `, with ${beside.join(' and ')}` : ''}\n` +
            (rows ? `${rows.length} answers, ${missing} of them without a row in the checkpoint: those rows are zeros\n` : ''),
        );
    } finally {
      await checkpoint.close();
    }
  },
});

/** The kind that is named, else that of the configuration where it is one of ours. */
function kindOf(config: Record<string, unknown> | undefined, name: string | undefined): Backbone | undefined {
  return name === undefined ? [...backbones.values()].find((kind) => kind.modelType === config?.['model_type']) : backbone(name);
}

/** For every answer of the second list its row in the first. LXMERT's pre-training list spells answers its own way. */
async function rowsBetween(from: string, to: string): Promise<number[]> {
  const wanted = await readAnswers(to);
  const pretraining = /^\s*\[\s*\{/.test(await readFile(from, 'utf8').catch(() => ''));
  return pretraining ? rowsFromPretraining(wanted, await readPretrainingAnswers(from)) : permutationBetween(await readAnswers(from), wanted);
}
