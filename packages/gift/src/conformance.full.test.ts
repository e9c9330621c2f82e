import { testPlugin, useCpu } from '@espalier/testing';
import { beforeAll, describe, it } from 'vitest';
import { gift } from './gift.ts';

beforeAll(useCpu);

const test = { describe, it };
const traits = { identityAtStart: true, weightsOnly: true, exactRows: true };

// Every other generator, activation and sharing, with every option somewhere.
testPlugin(gift, traits, { test, peers: [], options: { generator: 'paca', rank: 4, clusters: 3, posEnc: 'learnedRank', sharing: 'global' } });
testPlugin(gift, traits, { test, peers: [], options: { generator: 'paca-attention', rank: 3, clusters: 4, posEnc: 'sin', sharing: 'role' } });
testPlugin(gift, traits, { test, peers: [], options: { generator: 'transformer', rank: 4, heads: 2, ffnRatio: 1.5, sharing: 'site', at: { role: 'attention.query' } } });
testPlugin(gift, traits, { test, peers: [], options: { generator: 'mlp', rank: 3, at: { role: ['ffn.up', 'ffn.down', 'pooler'] } } });
testPlugin(gift, traits, { test, peers: [], options: { generator: 'mixer', rank: 3, mixedTokens: 5 } });
testPlugin(gift, traits, { test, peers: [], options: { activation: 'softmax', axis: 'outputs', rank: 3 } });
testPlugin(gift, traits, { test, peers: [], options: { activation: 'hsigmoid', rank: 3, outBias: true } });
testPlugin(gift, traits, { test, peers: [], options: { outBias: true, rank: 3, form: 'activation', sharing: 'site' } });
