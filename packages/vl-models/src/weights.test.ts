import { memoryCheckpoint } from '@espalier/checkpoints';
import { adapt, CheckpointError, OptionsError, weightsOf, type StoredTensor } from '@espalier/core';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { backbone, backbones, disposeModel, initialised, loadModel, toCheckpoint, VisualBertConfig, type Backbone, type LoadOptions } from './index.ts';

beforeAll(async () => {
  await tf.setBackend('cpu');
});

type Stored = Map<string, StoredTensor>;

async function checkpointOf(name: string, changes: object = {}) {
  const kind = backbone(name);
  const config = { ...Object(kind.sizes.tiny), ...changes };
  const model = kind.build(config, initialised(1));
  const merged = await adapt(model, []).merge();
  const arrays = await toCheckpoint(merged, model.keyOf);
  tf.dispose([...merged.values()]);
  const tensors: Stored = new Map([...arrays].map(([k, t]) => [k, { ...t, dtype: 'F32' }]));
  return { kind, model, tensors, config };
}

const load = (kind: Backbone, config: unknown, tensors: Stored, options?: LoadOptions) => loadModel(kind, config, memoryCheckpoint(tensors, 'file'), options);
const renamed = (tensors: Stored, change: (key: string) => string): Stored => new Map([...tensors].map(([k, t]) => [change(k), t]));
const values = (model: { scope: Parameters<typeof weightsOf>[0] }, path: string): number[] => {
  const [place, part] = [path.slice(0, path.lastIndexOf('.')), path.slice(path.lastIndexOf('.') + 1)];
  const found = weightsOf(model.scope).find((p) => p.path === place);
  const entry: unknown = found && Object.entries(found.pretrained).find(([name]) => name === part)?.[1];
  if (!(entry instanceof tf.Tensor)) throw new Error(`no ${path}`);
  return Array.from(entry.dataSync());
};

/** What each kind's other writers make of the canonical names. */
const writers: Record<string, ((key: string) => string)[]> = {
  lxmert: [
    (k) => `module.${k.replace(/^lxmert\./, 'bert.')}`,
    (k) => (k.startsWith('lxmert.') ? k.replace(/^lxmert\./, 'lxrt_encoder.model.module.bert.') : k.replace('answer_head.', '')),
    (k) => k.replace(/^lxmert\./, ''),
    (k) => k.replace(/(norm|LayerNorm)\.weight$/, '$1.gamma').replace(/(norm|LayerNorm)\.bias$/, '$1.beta'),
  ],
  'vl-bert': [(k) => `module.${k}`, (k) => k.replace('LayerNorm.weight', 'LayerNorm.gamma').replace('LayerNorm.bias', 'LayerNorm.beta')],
  'visual-bert': [
    (k) => k.replace(/^visual_bert\./, 'bert.bert.').replace(/^cls\./, 'bert.classifier.').replace('visual_token_type_embeddings', 'token_type_embeddings_visual')
      .replace('visual_position_embeddings', 'position_embeddings_visual').replace('visual_projection', 'projection'),
  ],
};
const variants = [
  ...[...backbones.keys()].map((name): [string, object] => [name, {}]),
  ['vl-bert', { classifier: '2fc', classifier_hidden_size: 24, visual_ln: false, visual_size: 48 }],
  ['vl-bert', { classifier: '1fc', no_grounding: true }],
  ['lxmert', { head: 'pair', skip_dead_branch: true }],
] as const;

describe.each(variants)('a checkpoint of %s %o', (name, changes) => {
  it('comes back as it was written, under one key for each array, whoever wrote it', async () => {
    const { kind, model, tensors, config } = await checkpointOf(name, changes);
    const fingerprint = await adapt(model, []).fingerprint();
    for (const write of [(k: string) => k, ...writers[name]!]) {
      const { model: again, report } = await load(kind, config, renamed(tensors, write));
      expect(report.loaded.length).toBe(tensors.size);
      expect([report.drawn, report.missing, report.unexpected, report.notFinite]).toEqual([[], [], [], []]);
      expect(await adapt(again, []).fingerprint()).toBe(fingerprint);
      disposeModel(again.scope);
    }
    disposeModel(model.scope);
  });

  it('that lacks an array, has a foreign one, or one of another shape or type is refused by name and leaves nothing behind', async () => {
    const { kind, model, tensors, config } = await checkpointOf(name, changes);
    disposeModel(model.scope);
    const before = tf.memory().numTensors;
    const first = [...tensors.keys()].find((key) => key.endsWith('weight'))!;
    const without: Stored = new Map(tensors);
    without.delete(first);
    without.set('stranger.weight', { dtype: 'F32', shape: [1], data: new Float32Array(1) });
    const refusal = load(kind, config, without);
    await expect(refusal).rejects.toThrow(CheckpointError);
    await expect(refusal).rejects.toThrow(first);
    await expect(refusal).rejects.toThrow('stranger.weight');
    const misshapen: Stored = new Map(tensors).set(first, { dtype: 'F32', shape: [3, 1], data: new Float32Array(3) });
    await expect(load(kind, config, misshapen)).rejects.toThrow(/'.*' has shape \[3, 1\], the model expects/);
    const { shape } = tensors.get(first)!;
    const integers: Stored = new Map(tensors).set(first, { dtype: 'I32', shape, data: new Int32Array(shape.reduce((a, b) => a * b, 1)) });
    await expect(load(kind, config, integers)).rejects.toThrow(/is of type I32, expected one of F64, F32/);
    await expect(load(kind, config, renamed(tensors, (k) => k).set(`module.${first}`, tensors.get(first)!))).rejects.toThrow('Keep one of them');
    const stop = new AbortController();
    const stopped = load(kind, config, tensors, { signal: stop.signal, onProgress: ({ read }) => read === 3 && stop.abort() });
    await expect(stopped).rejects.toThrow('abort');
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('an answer layer', () => {
  it('takes rows of other answers in their order, zeros for those there are not', async () => {
    const { kind, model, tensors, config } = await checkpointOf('lxmert', { num_qa_labels: 4 });
    const { model: other } = await load(kind, { ...config, num_qa_labels: 3 }, tensors, { answers: { rows: [2, -1, 0] } });
    const kernel = values(model, 'head.down.kernel');
    expect(values(other, 'head.down.kernel')).toEqual(Array.from({ length: kernel.length / 4 }, (_, i) => [kernel[4 * i + 2]!, 0, kernel[4 * i]!]).flat());
    const bias: Stored = new Map(tensors).set('answer_head.logit_fc.3.bias', { dtype: 'F32', shape: [4], data: Float32Array.of(1, 2, 3, 4) });
    const { model: third } = await load(kind, { ...config, num_qa_labels: 2 }, bias, { answers: { rows: [3, 1] } });
    expect(values(third, 'head.down.bias')).toEqual([4, 2]);
    await expect(load(kind, { ...config, num_qa_labels: 3 }, tensors)).rejects.toThrow('Rows of other answers can be chosen');
    await expect(load(kind, { ...config, num_qa_labels: 3 }, tensors, { answers: { rows: [4, 0, 0] } })).rejects.toThrow('choose 0 to 3');
    [model, other, third].forEach((m) => disposeModel(m.scope));
  });

  it('starts as the means of word embeddings, or drawn, and the rest of the checkpoint stays', async () => {
    const { kind, model, tensors, config } = await checkpointOf('vl-bert');
    const withoutHead: Stored = new Map([...tensors].filter(([key]) => !key.startsWith('final_mlp.2')));
    const { model: other, report } = await load(kind, config, withoutHead, { answers: { pieces: [[5, 7], [9]] } });
    const words = values(model, 'joint.embed.words.table');
    const width = 64;
    values(other, 'head.down.kernel').forEach((x, i) => {
      const [w, a] = [Math.floor(i / 2), i % 2];
      expect(x).toBeCloseTo(a ? words[9 * width + w]! : (words[5 * width + w]! + words[7 * width + w]!) / 2, 6);
    });
    expect(report.drawn).toEqual([]);
    expect(values(other, 'head.down.bias')).toEqual([0, 0]);
    const { report: replaced, model: fourth } = await load(kind, config, tensors, { answers: { pieces: [[5], [9]] } });
    expect(replaced.dropped).toEqual(['final_mlp.2.bias', 'final_mlp.2.weight']);
    const { model: third, report: drawn } = await load(kind, { ...config, num_answers: 5 }, tensors, { head: 'drawn', seed: 4 });
    expect(drawn.drawn).toEqual(['head.up.kernel', 'head.up.bias', 'head.norm.gamma', 'head.norm.beta', 'head.down.kernel', 'head.down.bias']);
    expect(drawn.dropped).toContain('final_mlp.2.weight');
    expect(values(third, 'joint.embed.words.table')).toEqual(words);
    await expect(load(kind, config, withoutHead)).rejects.toThrow('final_mlp.2.weight');
    [model, other, third, fourth].forEach((m) => disposeModel(m.scope));
  });

  it('that is torn, of another task, or not there to choose rows of is refused', async () => {
    const { kind, model, tensors, config } = await checkpointOf('lxmert');
    disposeModel(model.scope);
    const without = (pattern: RegExp): Stored => new Map([...tensors].filter(([key]) => !pattern.test(key)));
    const drawn = { head: 'stored-or-drawn' } as const;
    await expect(load(kind, config, without(/logit_fc\.[23]/), drawn)).rejects.toThrow(/lacks 4 arrays of a lxmert: 'answer_head\.logit_fc\.2/);
    await expect(load(kind, config, without(/pooler/), drawn)).rejects.toThrow('lxmert.pooler.dense.weight');
    await expect(load(kind, config, without(/answer_head/), { ...drawn, answers: { rows: [0, 1] } })).rejects.toThrow('has no answer layer whose rows could be chosen');
    await expect(load(kind, config, tensors, { head: 'drawn', answers: { rows: [0, 1] } })).rejects.toThrow(OptionsError);
    const visual = await checkpointOf('visual-bert');
    disposeModel(visual.model.scope);
    const reasoning = { ...visual.config, architectures: ['VisualBertForVisualReasoning'] };
    await expect(load(visual.kind, reasoning, visual.tensors)).rejects.toThrow('is of a VisualBertForVisualReasoning, whose head');
    const { model: other, report } = await load(visual.kind, reasoning, visual.tensors, drawn);
    expect([report.drawn, report.dropped]).toEqual([['head.down.kernel', 'head.down.bias'], ['cls.bias', 'cls.weight']]);
    disposeModel(other.scope);
  });

  it('of VL-BERT takes over the transform of the pre-training head; what else that has is dropped', async () => {
    const { kind, model, tensors, config } = await checkpointOf('vl-bert');
    const pretraining = renamed(new Map([...tensors].filter(([k]) => !k.startsWith('final_mlp.2'))), (k) => k.replace('final_mlp.0.', 'vlbert.mlm_head.predictions.transform.'));
    pretraining.set('vlbert.mvrc_head.region_cls_pred.bias', { dtype: 'F32', shape: [1], data: new Float32Array(1) });
    const { model: other, report } = await load(kind, config, pretraining, { head: 'stored-or-drawn' });
    expect(report.dropped).toEqual(['vlbert.mvrc_head.region_cls_pred.bias']);
    expect(report.drawn).toEqual(['head.down.kernel', 'head.down.bias']);
    expect(values(other, 'head.up.kernel')).toEqual(values(model, 'head.up.kernel'));
    [model, other].forEach((m) => disposeModel(m.scope));
  });
});

describe('weights that are not finite', () => {
  it('are reported by place', async () => {
    const { kind, model, tensors, config } = await checkpointOf('lxmert');
    disposeModel(model.scope);
    const bad = tensors.get('lxmert.pooler.dense.weight')!;
    const data = Float32Array.from(bad.data as Float32Array);
    data[data.length - 1] = NaN;
    const { model: other, report } = await load(kind, config, tensors.set('lxmert.pooler.dense.weight', { ...bad, data }));
    expect(report.notFinite).toEqual(['head.pooler.kernel']);
    disposeModel(other.scope);
  });
});

/** A BERT with two layers under its own names, or those of its old TensorFlow conversion without prefix. */
function bert(old: boolean): Stored {
  const hidden = 64;
  const draw = initialised(7);
  const shapes: Record<string, number[]> = {
    'bert.embeddings.word_embeddings.weight': [200, hidden], 'bert.embeddings.position_embeddings.weight': [40, hidden], 'bert.embeddings.token_type_embeddings.weight': [2, hidden],
    'bert.embeddings.LayerNorm.weight': [hidden], 'bert.embeddings.LayerNorm.bias': [hidden], 'bert.pooler.dense.weight': [hidden, hidden], 'bert.pooler.dense.bias': [hidden],
    'cls.predictions.transform.dense.weight': [hidden, hidden], 'cls.predictions.transform.dense.bias': [hidden], 'cls.predictions.transform.LayerNorm.weight': [hidden],
    'cls.predictions.transform.LayerNorm.bias': [hidden], 'cls.predictions.bias': [200],
  };
  for (const layer of [0, 1])
    for (const [part, wide, deep] of [['attention.self.query', hidden, hidden], ['attention.self.key', hidden, hidden], ['attention.self.value', hidden, hidden], ['attention.output.dense', hidden, hidden], ['intermediate.dense', 128, hidden], ['output.dense', hidden, 128]] as const) {
      shapes[`bert.encoder.layer.${layer}.${part}.weight`] = [wide, deep];
      shapes[`bert.encoder.layer.${layer}.${part}.bias`] = [wide];
      if (part.endsWith('output.dense')) for (const end of ['weight', 'bias']) shapes[`bert.encoder.layer.${layer}.${part.replace('dense', 'LayerNorm')}.${end}`] = [wide];
    }
  const stored: Stored = new Map();
  for (const [key, shape] of Object.entries(shapes)) {
    const t = draw(`${key}.kernel`, shape);
    stored.set(old ? key.replace(/^bert\./, '').replace('LayerNorm.weight', 'LayerNorm.gamma').replace('LayerNorm.bias', 'LayerNorm.beta') : key, { dtype: 'F32', shape, data: t.dataSync<'float32'>() });
    t.dispose();
  }
  return stored;
}

describe.each([false, true])('a BERT (old names: %s)', (old) => {
  it.each([...backbones.keys()])('gives %s its words and its encoder', async (name) => {
    const kind = backbone(name);
    const stored = bert(old);
    const config = { ...Object(kind.sizes.tiny), ...Object(kind.fromBert({ num_hidden_layers: 2, hidden_size: 64, vocab_size: 200 })) };
    const { model, report } = await load(kind, config, stored, { init: 'bert', seed: 2 });
    const stream = name === 'lxmert' ? 'text' : 'joint';
    const get = (key: string) => Array.from(stored.get(old ? key.replace(/^bert\./, '') : key)!.data as Float32Array);
    expect(values(model, `${stream}.embed.words.table`)).toEqual(get('bert.embeddings.word_embeddings.weight'));
    const kernel = get('bert.encoder.layer.1.intermediate.dense.weight'); // [128, 64]
    expect(values(model, `${stream}.1.ffn.up.kernel`).slice(0, 128)).toEqual(Array.from({ length: 128 }, (_, i) => kernel[64 * i]));
    const segments = values(model, `${stream}.embed.segments.table`);
    expect(segments.slice(0, 128)).toEqual(get('bert.embeddings.token_type_embeddings.weight'));
    if (name === 'vl-bert') {
      expect(segments.length).toBe(192); // a third segment, drawn
      expect(new Set(values(model, 'joint.embed.object.vision.norm.gamma'))).toEqual(new Set([0]));
      expect(report.loaded).toContain('cls.predictions.transform.dense.weight');
    }
    if (name === 'visual-bert') expect(values(model, 'joint.embed.vision.positions.table')).toEqual(get('bert.embeddings.position_embeddings.weight'));
    expect(report.drawn.length).toBeGreaterThan(0);
    await expect(load(kind, config, stored)).rejects.toThrow('It is a BERT');
    disposeModel(model.scope);
  });
});

it('a checkpoint that is no BERT does not pass for one', async () => {
  const { kind, model, tensors, config } = await checkpointOf('lxmert');
  disposeModel(model.scope);
  await expect(load(kind, config, tensors, { init: 'bert' })).rejects.toThrow('is not a BERT');
});

describe('a BERT that does not fit', () => {
  const kind = backbone('lxmert');
  const config = { ...Object(kind.sizes.tiny), ...Object(kind.fromBert({ num_hidden_layers: 2, hidden_size: 64, vocab_size: 200 })) };

  it('is refused when it lacks a layer or has fewer words', async () => {
    const torn: Stored = new Map([...bert(false)].filter(([key]) => !key.includes('layer.1.') && !key.includes('position')));
    await expect(load(kind, config, torn, { init: 'bert' })).rejects.toThrow(/lacks 17 arrays of the BERT that is to start a lxmert: 'lxmert\.embeddings\.position_embeddings\.weight'/);
    const words = bert(false).set('bert.embeddings.word_embeddings.weight', { dtype: 'F32', shape: [50, 64], data: new Float32Array(50 * 64) });
    await expect(load(kind, config, words, { init: 'bert' })).rejects.toThrow(/word_embeddings\.weight' has shape \[50, 64\], the model expects \[200, 64\]/);
    await expect(load(kind, config, bert(false), { init: 'bert', answers: { rows: [0, 1] } })).rejects.toThrow('which a BERT has not');
  });

  it.each([[{ layer_norm_eps: 1e-2 }, 'layer_norm_eps'], [{ hidden_act: 'relu' }, 'hidden_act'], [{ position_embedding_type: 'relative_key' }, 'position_embedding_type']])('is refused by its configuration: %o', (bad, name) => {
    for (const one of backbones.values()) expect(() => one.fromBert({ num_hidden_layers: 2, hidden_size: 64, ...bad })).toThrow(name);
  });
});

describe('the number of labels of VisualBERT', () => {
  const labels = (config: object): unknown => VisualBertConfig.parse(config).num_labels;
  it("is that of its label names, and the two that Hugging Face's files leave out", () => {
    expect(labels({})).toBe(3129);
    expect(labels({ num_labels: 5, id2label: { 0: 'a' } })).toBe(5);
    expect(labels({ id2label: { 0: 'a', 1: 'b', 2: 'c' }, transformers_version: '4.5.0' })).toBe(3);
    expect(labels({ transformers_version: '5.18.0' })).toBe(2);
    expect(() => VisualBertConfig.parse({ layer_norm_eps: 1e-5 })).toThrow();
  });
});

it('options of loading are checked', async () => {
  const { kind, model, tensors, config } = await checkpointOf('lxmert');
  disposeModel(model.scope);
  const bad = (options: object) => load(kind, config, tensors, options);
  await expect(bad({ heads: 'drawn' })).rejects.toThrow("'loadModel' has no option 'heads'. Did you mean 'head'?");
  await expect(bad({ head: 'fresh' })).rejects.toThrow(/option 'head'/);
  await expect(bad({ answers: {} })).rejects.toThrow(OptionsError);
  await expect(bad({ answers: { rows: [0], pieces: [[1]] } })).rejects.toThrow(OptionsError);
});

describe('names of backbones', () => {
  it('are suggested', () => {
    expect(() => backbone('lxmerd')).toThrow("Did you mean 'lxmert'");
  });
});
