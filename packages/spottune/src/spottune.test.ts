import { PEERS, testPlugin, useCpu, type Reasons, type Traits } from '@espalier/testing';
import { beforeAll, describe, it } from 'vitest';
import { spottune } from './spottune.ts';

beforeAll(useCpu);

const test = { describe, it };
const estimated: Reasons = [
  [/\/policy\./, 'a gate is hard, and its gradient that of an estimator'],
  [/multiplier$/, 'it ascends where all others descend'],
];
const routed: Traits = { identityAtStart: true, weightsOnly: false, exactRows: true, estimated };
const trunk = { kind: 'trunk', prior: 0.9, hidden: 6 } as const;
const alone = { test, peers: [] };

testPlugin(spottune, routed, { test, options: { policy: trunk, temperature: 1 }, peers: PEERS.slice(1) });
testPlugin(spottune, routed, { ...alone, options: { strategy: 'spottune', policy: trunk, temperature: 1 } });
testPlugin(spottune, routed, { ...alone, options: { strategy: 'spottune_prefix', policy: { ...trunk, prior: 0.99 }, temperature: 1, estimator: 'score' } });
testPlugin(spottune, routed, { ...alone, options: { strategy: 'spottune_res', policy: { ...trunk, from: 1 }, estimator: 'gumbel-rao', executor: 'dense', budget: { kind: 'target', rate: 0.5, by: 'macs' } } });
testPlugin(spottune, routed, { ...alone, options: { policy: { kind: 'independent', prior: 0.97 }, estimator: 'reinmax' } });
testPlugin(spottune, { ...routed, identityAtStart: false }, { ...alone, options: { strategy: 'blockdrop', policy: trunk } });
testPlugin(spottune, { ...routed, identityAtStart: false }, { ...alone, options: { strategy: 'blockreplace', branchInput: 'sequential', policy: { ...trunk, prior: 0.03 } } });
testPlugin(spottune, { ...routed, weightsOnly: true }, { ...alone, options: { strategy: 'global', policy: { kind: 'global', prior: 0.97 }, estimator: 'reinmax', budget: { kind: 'lagrangian', rate: 0.25 } } });
testPlugin(spottune, { ...routed, weightsOnly: true }, { ...alone, options: { strategy: 'last_k', last: 2 } });
