import { onnx, onnxGraph, onnxOperations, tfjsNode, wasm, enter } from './backends.ts';
import { productsOf, type Shape } from './network.ts';
import { interleaved, ratio, type Side } from './rounds.ts';
import type { Finding, Row } from './settings.ts';
import { capturedSide, checkedMacs, productSide, stepSide } from './sides.ts';

/** One layer of BERT-base on 8 x 56 tokens. */
const BASE: Shape = { width: 768, heads: 12, inner: 3072, layers: 1, batch: 8, tokens: 56 };

const gflop = (macs: number) => `${((2 * macs) / 1e9).toFixed(2)} GFLOP`;

export const block: Row = {
  name: 'block',
  about: 'BERT-base layer, batch 8 x 56 tokens, loss and gradients of its 16 arrays, against its matrix products alone',
  backends: ['onnx', 'tfjs-node'],
  measure: async (settings) => {
    const products = productsOf(BASE);
    const { rounds = 21 } = settings;
    const ours = onnx(settings);
    const macs = await checkedMacs(ours, BASE);
    const captured = await capturedSide('captured', ours, BASE);
    if (settings.backend === 'tfjs-node') {
      const theirs = await tfjsNode();
      const sides = [await stepSide('step', theirs, BASE), await productSide('products', theirs, products), captured];
      const times = await interleaved(sides, { rounds, warmup: 3 });
      return [
        ratio('tfjs-node step / its own products', times, 'step', 'products', { detail: gflop(macs) }),
        ratio('tfjs-node step / onnx step', times, 'step', 'captured'),
      ];
    }
    const sides = [
      await stepSide('lazy', ours, BASE), captured,
      await productSide('products', onnxOperations(settings), products), await productSide('graph', onnxGraph(settings), products),
    ];
    const times = await interleaved(sides, { rounds, warmup: 3 });
    const detail = `${products.length} products, ${gflop(macs)}; the fastest of 6 runs of each`;
    return [
      ratio('lazy step / its products, a graph each', times, 'lazy', 'products', { goal: { atMost: 1.3 }, detail }),
      ratio('captured step / its products, a graph each', times, 'captured', 'products', { goal: { atMost: 1.3 }, detail }),
      ratio('captured step / its products in one graph', times, 'captured', 'graph'),
      ratio('captured step / its graph run', times, 'captured', 'captured inside'),
      ratio('lazy step / its graph run', times, 'lazy', 'lazy inside'),
    ];
  },
};

export const blockWasm: Row = {
  name: 'block-wasm',
  about: 'the same step on the wasm backend (one thread), as shipped and with the patches of core, against onnx; both kernel sets in one process, exchanged in the registry',
  backends: ['onnx', 'tfjs-node'],
  measure: async (settings) => {
    const { rounds = 3 } = settings;
    const place = settings.backend === 'onnx' ? onnx(settings) : await tfjsNode();
    const ours = place.onnx ? await capturedSide('native', place, BASE) : await stepSide('native', place, BASE);
    const theirs = await wasm();
    await enter(theirs);
    const of = async (which: 'shipped' | 'patched'): Promise<Side> => {
      const side = await stepSide(which, theirs, BASE);
      return async () => {
        theirs.use(which);
        return side();
      };
    };
    const times = await interleaved([ours, await of('patched'), await of('shipped')], { rounds, warmup: 1 });
    const goals = settings.backend === 'onnx';
    const ratios: Finding[] = [
      ratio(`wasm as shipped / ${settings.backend}`, times, 'shipped', 'native', goals ? { goal: { atLeast: 20 } } : {}),
      ratio(`wasm patched / ${settings.backend}`, times, 'patched', 'native', goals ? { goal: { atLeast: 4 } } : {}),
    ];
    return ratios;
  },
};
