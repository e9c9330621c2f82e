import { testPlugin, useCpu } from '@espalier/testing';
import { beforeAll, describe, it } from 'vitest';
import { tangent } from './tangent.ts';

beforeAll(useCpu);

const test = { describe, it };
// Tangents start at zero and steps drop nothing.
const traits = { identityAtStart: true, weightsOnly: false, exactRows: true, seedless: true };

// Everything linear; trainable plugins beside it are refused.
testPlugin(tangent, traits, { test });
// A base of its own.
testPlugin(tangent, { ...traits, identityAtStart: false, seedless: false }, { test, peers: [], options: { lastK: 1, reinit: true, replaceCls: true, regulariser: 'l2norm', lambda: 0.1, dropout: true } });
