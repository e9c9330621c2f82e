import { transpose, type Value } from '@espalier/core';
import { activationOf } from './activations.ts';
import { mixerBlock, mlpBlock, pacaBlock, transformerBlock, type Block } from './blocks.ts';
import type { Layer, Variables } from './dense.ts';
import type { Group } from './groups.ts';
import type { GeneratorName, Settings } from './options.ts';

/** g: what stands between the projections; on C' [r, out], whose columns are the parameter tokens. */
export interface Generator {
  /** Undefined is the identity. */
  readonly generate: Layer | undefined;
  /** Read-outs over the output channels, [out, M]. */
  readonly clusters: Layer;
}

/** The generator of a group and its variables. */
export function generatorOf(variables: Variables, group: Group, settings: Settings): Generator {
  const { generator } = settings;
  if (generator === 'linear') {
    const f = activationOf(settings);
    return { generate: f && ((c) => f(c)), clusters: flip };
  }
  const blocks = Array.from({ length: settings.depth }, (_, i) => blockOf(generator, variables, `${group.name}.block${i}`, group, settings));
  const through: (n: number) => Layer = (n) => (t, read) => blocks.slice(0, n).reduce((x, block) => block.run(x, read), t);
  const last = blocks.length - 1;
  const detectors = blocks[last]?.clusters;
  return {
    generate: (c, read) => flip(through(blocks.length)(flip(c), read)),
    // Without clusters of its own, a generator is read as the linear one: each inner unit is a read-out.
    clusters: (c, read) => (detectors ? detectors(through(last)(flip(c), read), read) : flip(c)),
  };
}

const flip = (x: Value): Value => transpose(x, [1, 0]);

function blockOf(generator: Exclude<GeneratorName, 'linear'>, variables: Variables, path: string, { linears }: Group, settings: Settings): Block {
  switch (generator) {
    case 'paca':
    case 'paca-attention':
      return pacaBlock(variables, path, settings, generator === 'paca');
    case 'transformer':
      return transformerBlock(variables, path, settings);
    case 'mlp':
      return mlpBlock(variables, path, settings);
    case 'mixer':
      return mixerBlock(variables, path, settings, linears[0]!.out);
  }
}
