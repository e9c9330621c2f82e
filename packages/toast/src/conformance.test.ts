import { PEERS, testPlugin, useCpu, type Traits } from '@espalier/testing';
import { beforeAll, describe, it } from 'vitest';
import { toast } from './toast.ts';

beforeAll(useCpu);

const test = { describe, it };
const traits: Traits = { identityAtStart: true, weightsOnly: false, exactRows: true };

testPlugin(toast, traits, { test, peers: PEERS });
testPlugin(toast, traits, { test, peers: [], options: { feedback: 'lite', rank: 2, to: 0, task: 'question', taskRank: 3 } });
testPlugin(toast, traits, { test, peers: [], options: { to: 1, from: 2, task: 'answer', dropout: 'second', freezeP: false } });
