import { selectBackend } from '@espalier/core/backend';
import { wordPiece } from '@espalier/data';
import { withVocabulary } from '@espalier/pretrained';
import { disposeModel } from '@espalier/vl-models';
import { buildBackbone } from '../backbone-model.ts';
import { findBackbone } from '../backbone-weights.ts';
import { adaptOrDispose } from '../compose.ts';
import { downloads, printJson, type Console } from '../console.ts';
import { UsageError } from '../errors.ts';
import { inspect as inspection, type Inspection } from '../inspection.ts';
import { openModel } from '../model-directory.ts';
import { requireOneImage } from '../one-image.ts';
import { compositionRoot, resolvePlugins, withHead } from '../plugins.ts';
import { describeFlops } from '../report.ts';
import { InspectSettings } from '../settings.ts';
import { columns, megabytes, megaflops, whole } from '../table.ts';
import { command } from './command.ts';

export const inspect = command({
  name: 'inspect',
  says: 'List the hook points of a backbone; with plugins or a model also the plan, parameters and FLOPs',
  examples: ['espalier inspect --backbone lxmert --size tiny', `espalier inspect --backbone vl-bert --size small --plugin 'lora:{"rank":4}'`, 'espalier inspect --model out/run-1 --json'],
  settings: InspectSettings,
  run: async (settings, to) => {
    const { backend, threads, json, questionLength, regions } = settings;
    await selectBackend(backend, { threads });
    const subject = settings.model === undefined ? await composed(settings, to) : await opened(settings.model, settings, to);
    try {
      const found = await inspection(subject.adapted, subject.model, { questionLength, ...(regions !== undefined && { regions }) });
      if (json) printJson(to, found);
      else to.out(`${describe(found)}\n`);
    } finally {
      subject.dispose();
    }
  },
});

type Settings = Parameters<typeof inspect.run>[0];

async function opened(directory: string, { backbone, size, plugin, answers, vocabulary, head, weights, offline }: Settings, to: Console) {
  const extra = Object.entries({ backbone, size, answers, vocabulary, head, plugin: plugin.length ? plugin : undefined }).filter(([, value]) => value !== undefined);
  if (extra.length) throw new UsageError(`--model says what the backbone and its plugins are: leave out ${extra.map(([name]) => `--${name}`).join(', ')}`);
  return openModel(directory, { weights, offline, ...downloads(to) });
}

async function composed(settings: Settings, to: Console) {
  const { plugins } = await resolvePlugins(compositionRoot(), settings.plugin);
  const found = await findBackbone(settings, { offline: settings.offline, ...downloads(to) });
  requireOneImage(found.config, found.by);
  const { vocabulary } = found;
  const config = vocabulary ? withVocabulary(found, wordPiece(vocabulary.text, vocabulary.file)) : withinTable(found.config);
  const { model } = await buildBackbone({ ...found, config, seed: settings.seed, head: settings.head, signal: to.signal });
  // As in training, the head is there whenever anything is.
  const all = plugins.length || settings.answers !== undefined ? withHead(plugins, settings.answers) : [];
  const adapted = adaptOrDispose(model, all, settings.seed);
  return {
    model, adapted,
    dispose: () => {
      adapted.dispose();
      disposeModel(model.scope);
    },
  };
}

/** Special tokens that a small table has no row for become its last: where there is no vocabulary, any will do to count. */
function withinTable(config: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const last = Number(config['vocab_size']) - 1;
  return Object.fromEntries(Object.entries(config).map(([key, value]) => [key, ['cls', 'sep', 'mask', 'question_mark'].includes(key) && typeof value === 'number' ? Math.min(value, last) : value]));
}

function describe({ backbone, points, plan, parameters: p, batch, flops }: Inspection): string {
  const rows = points.map((x) => [x.path, x.kind, x.role, x.shape, x.stream ?? '', x.block === undefined ? '' : String(x.block)]);
  return [
    columns([['path', 'kind', 'role', 'shape', 'stream', 'block'], ...rows]),
    ...(plan ? [`Plan, in the order of effect:\n${plan}`] : []),
    `${backbone}: ${whole(p.total)} parameters, ${whole(p.trainable)} trained`,
    ...(p.instances.length
      ? [columns([['instance', 'parameters', 'bytes', 'by group'], ...p.instances.map((i) => [i.instance, whole(i.parameters), megabytes(i.bytes), Object.entries(i.groups).map(([g, n]) => `${g} ${whole(n)}`).join(', ') + (i.trainable ? '' : ' (frozen)')])])]
      : []),
    `${megaflops(flops.total)} per sample and forward pass (${batch.questionLength} word pieces, ${batch.regions} regions)`,
    describeFlops(flops),
  ].join('\n\n');
}
