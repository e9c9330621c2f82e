import { testPlugin, useCpu } from '@espalier/testing';
import { beforeAll, describe, it } from 'vitest';
import { lora } from './lora.ts';

beforeAll(useCpu);

testPlugin(lora, { identityAtStart: true, weightsOnly: true, exactRows: true }, { test: { describe, it }, options: { rank: 3, alpha: 6 } });
