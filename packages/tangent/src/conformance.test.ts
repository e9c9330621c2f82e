import { testPlugin, useCpu } from '@espalier/testing';
import { beforeAll, describe, it } from 'vitest';
import { tangent } from './tangent.ts';

beforeAll(useCpu);

const test = { describe, it };
// Tangents start at zero and steps drop nothing.
const traits = { identityAtStart: true, weightsOnly: false, exactRows: true, seedless: true };

// Everything linear; trainable plugins beside it are refused. More in conformance.full.test.ts.
testPlugin(tangent, traits, { test });
