import { gift } from '@espalier/gift';
import { lora } from '@espalier/lora';
import { testPlugin, useCpu } from '@espalier/testing';
import { tune } from '@espalier/tune';
import { beforeAll, describe, it } from 'vitest';

beforeAll(useCpu);

// The conformance kit beside real methods that act on the very same weights.
const at = { role: ['attention.output', 'attention.value'] } as const;
const traits = { identityAtStart: true, weightsOnly: true, exactRows: true };
const peers = [
  { factory: lora, options: { rank: 2, at }, weightsOnly: true },
  { factory: tune, options: { preset: 'bitfit' }, weightsOnly: true },
  { factory: tune, options: { at }, weightsOnly: true },
];
testPlugin(gift, traits, { test: { describe, it }, options: { rank: 3, at }, peers });
testPlugin(gift, traits, { test: { describe, it }, options: { generator: 'paca', rank: 3, clusters: 4, at }, peers: peers.slice(0, 1) });
