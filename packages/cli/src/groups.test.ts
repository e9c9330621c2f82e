import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { GroupDefaults, ParameterPoint } from '@espalier/core';
import type { GroupOptions } from '@espalier/train';
import { afterAll, describe, expect, it } from 'vitest';
import { capturedConsole } from './captured-console.ts';
import { groupOptions } from './groups.ts';
import { runCommand } from './program.ts';
import { TrainSettings } from './settings.ts';

const points = (['default', 'policy'] as const).map((group) => ({ path: group, group }) as ParameterPoint);
/** The optimisers of a model with the groups default and policy. */
const made = (options: object, defaults: Readonly<Record<string, GroupDefaults>> = {}) =>
  groupOptions({ trainable: points, groups: new Map(Object.entries(defaults)) }, TrainSettings.parse(options));
const plain = ({ method, rate, schedule, clip }: GroupOptions) => {
  const decay = method.chain.map((t) => t.settings(points)['weightDecay']).find((x) => x !== undefined);
  return { method: method.name, rate, shape: schedule!.settings['shape'], warmup: schedule!.settings['warmup'], clip, decay };
};

describe('how a group is moved', () => {
  const all = { method: 'adamW', rate: 1e-3, shape: 'linear', warmup: { fraction: 0.1 }, clip: undefined, decay: 0.01 };

  it('is as all others, then as its plugin says, then as it is told', () => {
    expect(plain(made({}).policy!)).toEqual(all);
    const asked = { optimiser: 'sgd', rate: 1e-4, schedule: 'constant', warmup: 0, clip: 'none' } as const;
    const { default: rest, policy } = made({ weightDecay: 0.2 }, { policy: asked });
    expect(plain(rest!)).toEqual({ ...all, decay: 0.2 });
    expect(plain(policy!)).toEqual({ method: 'sgd', rate: 1e-4, shape: 'constant', warmup: { fraction: 0 }, clip: Infinity, decay: undefined }); // of its own kind
    expect(plain(made({ group: ['policy:{"lr":0.5,"clip":2,"warmup":30}'] }, { policy: asked }).policy!)).toMatchObject({ method: 'sgd', rate: 0.5, clip: 2, warmup: { steps: 30 } });
    expect(plain(made({ group: [{ name: 'policy', optimiser: 'adamw', clip: 'shared', weightDecay: 0 }] }, { policy: asked }).policy!)).toEqual({ ...all, rate: 1e-4, shape: 'constant', warmup: { fraction: 0 }, decay: 0 });
    expect(plain(made({ group: ['default:{"schedule":"cosine"}', 'default:{"lr":2}'] }).default!)).toEqual({ ...all, shape: 'cosine', rate: 2 });
  });

  it.each([
    ['polcy:{"lr":1}', /--group 'polcy': no trained variable is in it\. Did you mean 'policy'\? There are default, policy\./],
    ['policy', /write NAME:\{"setting":value\}/],
    ['policy:{"lr":}', /--group 'policy', settings: not JSON/],
    ['policy:{"rate":1}', /'--group policy' has no option 'rate'.*Options are optimiser, lr/],
    ['policy:{"optimiser":"adm"}', /option 'optimiser'/],
    ['policy:{"optimiser":"adam","weightDecay":1}', /adam has no weight decay/],
  ])('%s is refused', (entry, message) => {
    expect(() => made({ group: [entry] })).toThrow(message);
  });
});

describe('a policy in training', () => {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-groups-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const at = (name: string) => join(folder, name);
  const args = (out: string, ...more: string[]) => [
    'train', '--backbone', 'lxmert', '--size', 'tiny', '--data', 'shapes:24', '--features', 'components', '--limit-train', '24', '--limit-eval', '8', '--epochs', '2',
    '--batch-size', '8', '--checkpoint-every', '2', '--backend', 'cpu', '--json', '--verbose', '--out', at(out),
    '--plugin', 'spottune:{"estimator":"reinmax","budget":[{"kind":"lagrangian","rate":0.3}],"policy":{"kind":"trunk","hidden":8}}',
    '--group', 'policy:{"lr":0.02,"schedule":"cosine","warmup":3}', ...more,
  ];
  const lines = (out: string) => readFileSync(join(at(out), 'metrics.jsonl'), 'utf8').trim().split('\n').map((line) => Object(JSON.parse(line)));

  it('18, 19. has a schedule of its own, and both optimisers, the noise and the multiplier go on bit for bit', async () => {
    const whole = capturedConsole();
    expect(await runCommand(args('whole'), whole)).toBe(0);
    const steps = lines('whole').filter((l) => l.type === 'step');
    expect(steps.map((l) => l.learningRates.policy / 0.02)).toEqual([1 / 3, 2 / 3, 1, 1, 0.75, 0.25].map((x) => expect.closeTo(x, 6)));
    expect(steps.map((l) => l.learningRates.default)).not.toEqual(steps.map((l) => l.learningRates.policy));

    const stopping = new AbortController();
    const to = capturedConsole(stopping.signal);
    const out = to.out.bind(to);
    expect(await runCommand(args('stopped'), { ...to, out: (text) => (out(text), text.includes('"step":3,') && stopping.abort()) })).toBe(130);
    expect(await runCommand(args('stopped', '--resume'), capturedConsole())).toBe(0);
    for (const name of ['spottune.safetensors', 'tune#head.safetensors']) expect(readFileSync(join(at('stopped'), name)).equals(readFileSync(join(at('whole'), name))), name).toBe(true);
    expect(lines('stopped').filter((l) => l.type === 'step').map((l) => [l.loss, l.losses])).toEqual(steps.map((l) => [l.loss, l.losses]));

    const other = capturedConsole();
    expect(await runCommand(args('stopped', '--resume', '--group', 'policy:{"clip":3}'), other)).toBe(1);
    expect(other.printed.err).toMatch(/optimisers\.policy\.clip: "?1"? in the checkpoint, "?3"? now/);
  });

  it('23. its costs are counted: expected by its probabilities, spent by what it chose', async () => {
    const to = capturedConsole();
    expect(await runCommand(['eval', '--model', at('whole'), '--backend', 'cpu', '--json'], to)).toBe(0);
    const { flops } = Object(to.objects().at(-1));
    expect(flops.samples).toBe(8);
    const { expected, spent } = flops.perSample;
    expect(spent.mean).toBeCloseTo(flops.total, 3);
    expect(expected.mean / spent.mean).toBeCloseTo(1, 6); // either branch is a block
    expect(Object.keys(flops.perSampleByPlugin).sort()).toEqual(['backbone', 'spottune']);
    expect(flops.perSampleByPlace['text.0'].spent.p95).toBeGreaterThan(0);
    const shown = capturedConsole();
    expect(await runCommand(['eval', '--model', at('whole'), '--backend', 'cpu'], shown)).toBe(0);
    expect(shown.printed.out).toMatch(/MFLOPs of a sample and forward pass.*counted on 8 samples\n\nby plugin +expected +95 % +spent +95 % +share\n/);
  });
});
