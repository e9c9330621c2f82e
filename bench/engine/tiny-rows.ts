import { onnx, tfjsNode } from './backends.ts';
import type { Shape } from './network.ts';
import { interleaved, milliseconds, ratio, summary, timesOf, type Rounds } from './rounds.ts';
import type { Finding, Row } from './settings.ts';
import { capturedSide, stepSide } from './sides.ts';

const tiny = (batch: number, tokens: number): Shape => ({ width: 64, heads: 4, inner: 256, layers: 2, batch, tokens });

export const small: Row = {
  name: 'tiny',
  about: 'a small model (64 wide, 2 layers), batch 32 x 20 tokens, loss and gradients of its 32 arrays: what a captured step costs beyond its graph',
  backends: ['onnx', 'tfjs-node'],
  measure: async (settings) => {
    const { rounds = 101 } = settings;
    const place = onnx(settings);
    const shape = tiny(32, 20);
    const captured = await capturedSide('captured', place, shape);
    if (settings.backend === 'tfjs-node') {
      const times = await interleaved([captured, await stepSide('step', await tfjsNode(), shape)], { rounds, warmup: 5 });
      return [ratio('tfjs-node step / onnx captured step', times, 'step', 'captured')];
    }
    const times = await interleaved([captured, await stepSide('lazy', place, shape)], { rounds, warmup: 5 });
    return [
      share('(captured step - its graph run) / captured step', times, 'captured'),
      ratio('captured step / lazy step', times, 'captured', 'lazy'),
      milliseconds('captured step', times, 'captured'),
      milliseconds('its graph run', times, 'captured inside'),
    ];
  },
};

export const smallest: Row = {
  name: 'tiny-1x4',
  about: 'the same model on batch 1 x 4 tokens, where only overhead is left',
  backends: ['onnx', 'tfjs-node'],
  measure: async (settings) => {
    const { rounds = 201 } = settings;
    const place = onnx(settings);
    const shape = tiny(1, 4);
    const captured = await capturedSide('captured', place, shape);
    const other = settings.backend === 'onnx' ? place : await tfjsNode();
    const times = await interleaved([captured, await stepSide('step', other, shape)], { rounds, warmup: 5 });
    const graph = milliseconds('its graph run', times, 'captured inside');
    if (settings.backend === 'tfjs-node') return [ratio('captured onnx step / tfjs-node step', times, 'captured', 'step')];
    return [ratio('captured step / lazy step', times, 'captured', 'step', { goal: { atMost: 0.5 } }), graph];
  },
};

/** What of a step is not its graph run, round by round. */
function share(what: string, rounds: Rounds, name: string): Finding {
  const inside = timesOf(rounds, `${name} inside`);
  const { value, low, high, rounds: n } = summary(timesOf(rounds, name).map((t, i) => 1 - inside[i]! / t));
  return { what, value, low, high, unit: 'ratio', rounds: n, goal: { atMost: 0.1 } };
}
