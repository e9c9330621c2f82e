import { PEERS, testPlugin, useCpu } from '@espalier/testing';
import { beforeAll, describe, it } from 'vitest';
import { tangent } from './tangent.ts';

beforeAll(useCpu);

const test = { describe, it };
// Tangents start at zero and steps drop nothing.
const traits = { identityAtStart: true, weightsOnly: false, exactRows: true, seedless: true };

// Beside other trainable plugins, where that is asked for.
testPlugin(tangent, traits, { test, options: { lastK: 1, beside: 'trainable', lambda: 0.01 }, peers: PEERS });
testPlugin(tangent, traits, { test, peers: [], options: { parts: ['embeddings', 'norms', 'biases'], regulariser: 'l2norm', lambda: 0.01 } });
testPlugin(tangent, traits, { test, peers: [], options: { at: [{ role: ['attention.query', 'ffn.down'] }, { role: 'head.down' }] } });
// A base of its own.
testPlugin(tangent, { ...traits, identityAtStart: false, seedless: false }, { test, peers: [], options: { lastK: 1, reinit: true, replaceCls: true, regulariser: 'l2norm', lambda: 0.1, dropout: true } });
