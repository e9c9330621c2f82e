import { PEERS, testPlugin, useCpu } from '@espalier/testing';
import { beforeAll, describe, it } from 'vitest';
import { gift } from './gift.ts';

beforeAll(useCpu);

const test = { describe, it };
const traits = { identityAtStart: true, weightsOnly: true, exactRows: true };

// Everywhere alone on its weights, in the activation form.
testPlugin(gift, traits, { test, options: { rank: 3 } });
// Beside another that scales the very same weights, before and after it, in the low-rank form.
testPlugin(gift, traits, { test, options: { rank: 3, at: { role: ['attention.value', 'ffn.down'] } }, peers: PEERS.slice(0, 1) });
// A network as generator; the others are in conformance.full.test.ts.
testPlugin(gift, traits, { test, peers: [], options: { generator: 'paca', rank: 4, clusters: 5, heads: 2, depth: 2, inBias: true, outBias: true } });
