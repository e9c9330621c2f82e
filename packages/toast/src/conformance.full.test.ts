import { PEERS, testPlugin, useCpu, type Traits } from '@espalier/testing';
import { beforeAll, describe, it } from 'vitest';
import { toast } from './toast.ts';

beforeAll(useCpu);

const test = { describe, it };
const traits: Traits = { identityAtStart: true, weightsOnly: false, exactRows: true };
const alone = { test, peers: [] };

testPlugin(toast, traits, { test, peers: PEERS, options: { feedback: 'lite', to: 0 } });
testPlugin(toast, { ...traits, identityAtStart: false, noGradient: [[/\/vision\./, 'all regions of these inputs point away from a random task vector, so that none is fed back']] }, { ...alone, options: { init: 'paper', to: 0 } });
testPlugin(toast, { ...traits, identityAtStart: false }, { ...alone, options: { fidelity: 'reference', gate: false } });
testPlugin(toast, traits, { ...alone, options: { freezeA: true, steerPretrained: false } });
testPlugin(toast, { ...traits, noGradient: [[/\.(a|b)$/, 'the frozen base of a map of low rank']] }, { ...alone, options: { feedback: 'lite', bases: true, alpha: 2 } });
testPlugin(toast, { ...traits, estimated: [[/./, 'the reconstruction loss takes the states as constants']] }, { ...alone, options: { reconstruction: 0.1, to: 0 } });
