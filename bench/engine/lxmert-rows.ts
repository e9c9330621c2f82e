import { median } from '../paired.ts';
import { enter, onnx } from './backends.ts';
import { answering, training, VQA, type Kind } from './lxmert.ts';
import { milliseconds, interleaved, timesOf } from './rounds.ts';
import type { Row } from './settings.ts';

const row = (kind: Kind | 'forward', what: string, rounds: number): Row => ({
  name: `lxmert-${kind}`,
  about: `LXMERT-base, batch 8 x (20 tokens + 36 regions): ${what}`,
  backends: ['onnx'],
  measure: async (settings) => {
    const place = onnx(settings);
    await enter(place);
    const run = kind === 'forward' ? { ...answering(VQA), trainable: 0 } : training(kind, VQA);
    const macs = await run.macs();
    place.onnx!.clearGraphs(); // counting ran every operation by itself
    const work = { parameters: run.parameters, trainable: run.trainable, macs };
    const inside = () => place.onnx!.statistics().runMilliseconds;
    const step = async () => {
      const before = inside();
      const { learn, update } = await run.step();
      const graph = inside() - before;
      return { step: learn + update, graph, update, rest: learn - graph };
    };
    const times = await interleaved([step], { rounds: settings.rounds ?? rounds, warmup: 4 });
    const millions = (n: number) => `${(n / 1e6).toFixed(3)} M`;
    const total = median(timesOf(times, 'step'));
    const part = (name: string) => milliseconds(`  of it: ${name}`, times, name, { detail: `${((100 * median(timesOf(times, name))) / total).toFixed(1)} %` });
    return [
      { ...milliseconds('step', times, 'step', { detail: `${millions(run.trainable)} of ${millions(run.parameters)} parameters trained; ${run.how}` }), work },
      part('graph'), part('update'), part('rest'),
      { what: 'rate', value: (2 * macs) / total / 1e6, unit: 'GFLOPS', detail: `${(macs / 1e9).toFixed(3)} G multiply-adds per step` },
    ];
  },
});

export const lxmertLora = row('lora', 'a training step, AdamW, no dropout, of LoRA, rank 8 on the queries and values of self-attention', 15);
export const lxmertFull = row('full', 'a training step, AdamW, no dropout, of all parameters', 7);
export const lxmertForward = row('forward', 'a forward pass', 15);
