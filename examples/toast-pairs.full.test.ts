import { gift } from '@espalier/gift';
import { lora } from '@espalier/lora';
import { spottune } from '@espalier/spottune';
import { testPlugin, useCpu, type Traits } from '@espalier/testing';
import { toast } from '@espalier/toast';
import { tune } from '@espalier/tune';
import { beforeAll, describe, it } from 'vitest';

beforeAll(useCpu);

// The conformance kit beside real methods, on the values that it steers among others.
const at = { role: ['attention.value', 'attention.output'] } as const;
const peers = [
  { factory: lora, options: { rank: 2, at }, weightsOnly: true },
  { factory: gift, options: { rank: 3, at }, weightsOnly: true },
  { factory: tune, options: { preset: 'bitfit' }, weightsOnly: true },
];
const routed = [{ factory: spottune, options: { policy: { kind: 'trunk', prior: 0.9, hidden: 6 }, temperature: 1 }, weightsOnly: false }];
const traits: Traits = { identityAtStart: true, weightsOnly: false, exactRows: true };
testPlugin(toast, traits, { test: { describe, it }, options: { to: 0 }, peers });
// Every token is fed back: without data for its task vector a gate may close on all regions that the copies have moved.
testPlugin(toast, traits, { test: { describe, it }, options: { to: 0, gate: false }, peers: routed });
