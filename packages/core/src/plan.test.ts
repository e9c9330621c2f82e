import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConflictError, SelectionError } from './errors.ts';
import { around, begin, value, weight, type Hook } from './hooks.ts';
import { hostOf } from './host.ts';
import { zeros } from './initializers.ts';
import { Plan } from './plan.ts';
import { definePlugin } from './plugin.ts';
import type { ParameterPoint } from './points.ts';
import { Scope } from './scope.ts';
import { select } from './select.ts';
import { z } from 'zod';

const tensors: tf.Tensor[] = [];
let root: Scope;
let points: Scope['points'];
beforeAll(async () => {
  tf.env().set('PROD', true); // without the cpu backend's hint
  await tf.setBackend('cpu');
  root = Scope.root((_, shape) => {
    const t = tf.zeros([...shape]);
    tensors.push(t);
    return t;
  });
  for (const [block, stream] of ['text', 'text', 'vision'].entries()) {
    const scope = root.child(stream, { stream }).child(String(block), { block });
    const attention = scope.child('attention');
    attention.use(attention.linear('attention.query', 2, 2));
    attention.use(attention.linear('attention.value', 2, 2));
    attention.norm('attention.norm', 2);
    attention.stage('attention', (s) => s);
    scope.stage('block', (s) => s);
  }
  root.child('text', { stream: 'text' }).child('embed').embedding('embed.words', 4, 2, { padding: 0 });
  root.stage('encoder', (s) => s, { streams: ['text', 'vision'] });
  points = root.points;
});
afterAll(() => tf.dispose(tensors));

const plan = (...plugins: { instance: string; hooks: readonly Hook[]; trainable?: boolean; parameters?: readonly ParameterPoint[] }[]) =>
  new Plan(plugins.map(({ trainable = true, parameters = [], ...rest }) => ({ trainable, parameters, ...rest })));
const nothing = <T>(x: T) => x;
const linear = (i = 0) => points.linear[i]!;
const stage = (role: string) => points.stage.find((s) => s.role === role)!;

describe('points', () => {
  it('have paths, streams and blocks from their scopes, and a stage takes the path of its scope', () => {
    const show = (p: { path: string; role: string; stream: string | undefined; block: number | undefined }) => `${p.path} | ${p.role} | ${p.stream} | ${p.block}`;
    expect(points.linear.slice(0, 2).map(show)).toEqual([
      'text.0.attention.query | attention.query | text | 0',
      'text.0.attention.value | attention.value | text | 0',
    ]);
    expect(points.site.slice(0, 2).map(show)).toEqual([
      'text.0.attention.query.input | attention.query.input | text | 0',
      'text.0.attention.query | attention.query | text | 0',
    ]);
    expect(points.stage.map((s) => `${s.path} ${s.role} covers '${s.covers}'`)).toEqual([
      "text.0.attention attention covers 'text.0.attention'", "text.0 block covers 'text.0'",
      "text.1.attention attention covers 'text.1.attention'", "text.1 block covers 'text.1'",
      "vision.2.attention attention covers 'vision.2.attention'", "vision.2 block covers 'vision.2'",
      "encoder encoder covers ''",
    ]);
    const ids = Object.values(points).flatMap((list: readonly { id: number }[]) => list.map((p) => p.id));
    expect(new Set(ids).size).toBe(ids.length);
    expect(Math.max(...ids)).toBe(root.size - 1);
  });

  it('cannot share a path', () => {
    const scope = root.child('twice');
    scope.site('pooled');
    expect(() => scope.site('pooled')).toThrow('the model names site twice.pooled twice');
  });
});

describe('select', () => {
  const paths = (at: Parameters<typeof select>[3]) => select('lora', 'linear', points.linear, at).map((p) => p.path);

  it('takes every point that agrees with every key', () => {
    expect(paths({})).toHaveLength(6);
    expect(paths({ role: 'attention.query' })).toHaveLength(3);
    expect(paths({ role: ['attention.query', 'attention.value'], stream: 'vision' })).toEqual(['vision.2.attention.query', 'vision.2.attention.value']);
    expect(paths({ stream: ['text', 'vision'], block: [1, 3], role: 'attention.value' })).toEqual(['text.1.attention.value', 'vision.2.attention.value']);
    expect(paths({ path: 'text.1' })).toEqual(['text.1.attention.query', 'text.1.attention.value']);
    expect(paths({ path: ['text.0.attention.query', 'vision'] })).toHaveLength(3);
  });

  it.each([
    [{ role: 'attention.qurey' }, "'attention.qurey' is not a role of a linear here. Did you mean 'attention.query'"],
    [{ role: 'ffn.up' }, 'This model has roles attention.query, attention.value;'],
    [{ stream: 'joint' }, 'streams text, vision.'],
    [{ block: [3, 9] as const }, 'Blocks are 0 to 2.'],
    [{ path: 'text.0.att' }, `{"path":"text.0.att"}`],
  ])('%j finds nothing and says what there is', (at, words) => {
    expect(() => paths(at)).toThrow(SelectionError);
    expect(() => paths(at)).toThrow(words);
    expect(() => paths(at)).toThrow("'lora' selects no linear:");
  });
});

describe('the order of hooks', () => {
  const order = (p: Plan, id: number) => p.table('adapted', 0).weights[id]!.map((h) => h.instance);
  const at = (mode: 'replace' | 'scale' | 'add', rank?: 'pre' | 'post'): Hook => weight(linear(), nothing, { mode, ...(rank && { order: rank }) });

  it('is the order of plugins, replacements first, then scalings, then additions', () => {
    const p = plan(
      { instance: 'add', hooks: [at('add')] },
      { instance: 'scale', hooks: [at('scale')] },
      { instance: 'add2', hooks: [at('add')] },
      { instance: 'replace', hooks: [at('replace')] },
      { instance: 'scale2', hooks: [at('scale')] },
    );
    expect(order(p, linear().id)).toEqual(['replace', 'scale', 'scale2', 'add', 'add2']);
  });

  it('gives way to pre and post within a mode, and only there', () => {
    const p = plan(
      { instance: 'late', hooks: [at('add', 'post')] },
      { instance: 'add', hooks: [at('add')] },
      { instance: 'early', hooks: [at('add', 'pre')] },
      { instance: 'scale', hooks: [at('scale', 'post')] },
      { instance: 'replace', hooks: [at('replace', 'post')] },
    );
    expect(order(p, linear().id)).toEqual(['replace', 'scale', 'early', 'add', 'late']);
  });

  it('folds values and nests stages the same way', () => {
    const site = points.site[1]!;
    const run = around(stage('block'), 'edit', (inside, s) => inside(s));
    const p = plan(
      { instance: 'a', hooks: [value(site, nothing, { order: 'post' }), run] },
      { instance: 'b', hooks: [value(site, nothing), run] },
    );
    const table = p.table('adapted', 0);
    expect(table.values[site.id]!.map((h) => h.instance)).toEqual(['b', 'a']);
    expect(table.stages[stage('block').id]!.map((h) => h.instance)).toEqual(['a', 'b']);
  });
});

describe('conflicts', () => {
  const run = (mode: 'route' | 'repeat' | 'edit'): Hook => around(stage('block'), mode, (inside, s) => inside(s));
  const both = (a: Hook, b: Hook) => plan({ instance: 'spottune', hooks: [a] }, { instance: 'tangent', hooks: [b] });

  it('two plugins replace a weight, route a stage or repeat a stage', () => {
    const replace = weight(linear(), nothing, { mode: 'replace' });
    expect(() => both(replace, replace)).toThrow(ConflictError);
    expect(() => both(replace, replace)).toThrow("'tangent' and 'spottune' both replace weight 'text.0.attention.query'. Narrow one of their 'at' selectors, or drop one.");
    expect(() => both(run('route'), run('route'))).toThrow("both route stage 'text.0'");
    expect(() => both(run('repeat'), run('repeat'))).toThrow("both repeat stage 'text.0'");
  });

  it('everything else composes', () => {
    both(weight(linear(), nothing), weight(linear(), nothing));
    both(weight(linear(), nothing, { mode: 'scale' }), weight(linear(), nothing, { mode: 'scale' }));
    both(weight(linear(0), nothing, { mode: 'replace' }), weight(linear(1), nothing, { mode: 'replace' }));
    both(run('edit'), run('edit'));
    both(run('route'), run('repeat'));
    both(run('route'), around(stage('attention'), 'route', (inside, s) => inside(s)));
    both(value(points.site[0]!, nothing), value(points.site[0]!, nothing));
  });
});

describe('tables', () => {
  const site = () => points.site[1]!;
  const p = () =>
    plan(
      { instance: 'lora', hooks: [weight(linear(), nothing)] },
      { instance: 'toast', hooks: [value(site(), nothing, { passes: [1, Infinity] })] },
      { instance: 'tune', hooks: [weight(linear(1), nothing, { mode: 'replace', always: true }), weight(linear(), nothing, { mode: 'replace' })] },
    );
  const inForce = (variant: 'adapted' | 'pretrained' | string[], pass = 0) => {
    const { weights, values } = p().table(variant, pass);
    return [...weights.flatMap((list) => list?.map((h) => `${h.instance} ${h.mode}`) ?? []), ...values.flatMap((list) => list?.map((h) => h.instance) ?? [])];
  };

  it('hold what a variant and a pass let through', () => {
    expect(inForce('adapted')).toEqual(['tune replace', 'lora add', 'tune replace']);
    expect(inForce('adapted', 1)).toEqual(['tune replace', 'lora add', 'tune replace', 'toast']);
    expect(inForce('adapted', 7)).toContain('toast');
    expect(inForce('pretrained', 1)).toEqual(['tune replace']);
    expect(inForce(['lora'], 1)).toEqual(['lora add', 'tune replace']);
    expect(inForce(['toast'], 1)).toEqual(['tune replace', 'toast']);
    expect(inForce([])).toEqual(['tune replace']);
  });

  it('are made once, sets of names in any order, and share what they see alike', () => {
    const one = p();
    expect(one.table(['lora', 'toast'], 0)).toBe(one.table(['toast', 'lora'], 0));
    expect(one.table('adapted', 0)).not.toBe(one.table('adapted', 1));
    expect(one.table('adapted', 0).weights[linear().id]).toBe(one.table('adapted', 1).weights[linear().id]);
    expect(one.table('adapted', 0).weights[linear().id]).not.toBe(one.table(['lora'], 0).weights[linear().id]);
    expect(one.table('adapted', 0).weights[linear(1).id]).toBe(one.table('pretrained', 0).weights[linear(1).id]);
  });

  it('know what anything trainable touches', () => {
    const block = (i: number) => points.stage.filter((s) => s.role === 'block')[i]!;
    const frozen = plan({ instance: 'lora', hooks: [weight(linear(), nothing)], trainable: false }, { instance: 'ia3', hooks: [value(points.site[5]!, nothing)] });
    const table = frozen.table('adapted', 0);
    expect([0, 1, 2].map((i) => table.touched(block(i)))).toEqual([false, true, false]);
    expect(table.touched(stage('encoder'))).toBe(true);
    expect([0, 1, 2].map((i) => frozen.table('pretrained', 0).touched(block(i)))).toEqual([false, false, false]);
  });
});

describe('explain', () => {
  it('is one line for each plugin, kind, mode and role', () => {
    const p = plan(
      { instance: 'toast', hooks: [around(stage('encoder'), 'repeat', (run, s) => run(s)), ...points.site.filter((s) => s.role === 'attention.value').map((s) => value(s, nothing, { passes: [1, Infinity] }))] },
      { instance: 'lora#a', hooks: points.linear.map((w) => weight(w, nothing)), trainable: false },
      { instance: 'tune', hooks: [weight(points.embedding[0]!, nothing, { mode: 'replace', always: true }), begin(() => {})] },
      { instance: 'probe', hooks: [value(points.site[0]!, nothing, { passes: [0, 2] })] },
    );
    expect(p.explain()).toMatchInlineSnapshot(`
      "toast   stage   repeat   encoder  ×1
      toast   value   edit     attention.value (pass 1+)  ×3
      tune    weight  replace  embed.words (always)  ×1
      probe   value   edit     attention.query.input (pass 0 to 1)  ×1
      lora#a  weight  add      attention.query (frozen)  ×3
      lora#a  weight  add      attention.value (frozen)  ×3
      tune    begin            once a step  ×1"
    `);
  });
});

describe('a host', () => {
  const factory = definePlugin({ name: 'p', version: '0.1.0', hookApi: '1.0', options: z.strictObject({}), attach: () => [] });

  it('names variables after the instance and refuses a name twice', () => {
    const parameters = new Map<string, ParameterPoint>();
    const host = hostOf(factory({}, { as: 'a' }), { name: 'none', scope: root, batch: () => 0, forward: () => tf.zeros([0]) }, 0, { next: root.size }, parameters, new Map());
    const point = host.variable('x.gain', [2], zeros, 'policy');
    expect(point).toMatchObject({ path: 'p#a/x.gain', instance: 'p#a', group: 'policy', role: 'parameter', id: root.size });
    expect(() => host.variable('x.gain', [2], zeros)).toThrow("'p#a' names the variable 'x.gain' twice");
    expect(host.parameters('p#a')).toEqual([point]);
    expect(host.parameters('other')).toEqual([]);
    expect(host.weights({ role: ['attention.norm', 'embed.words'] }).map((w) => w.path)).toEqual(['text.0.attention.norm', 'text.1.attention.norm', 'vision.2.attention.norm', 'text.embed.words']);
    expect(() => host.norms({ role: 'ffn.norm' })).toThrow("'p#a' selects no norm");
    tf.dispose(point.variable);
  });
});
