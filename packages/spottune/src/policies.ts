import type { Host } from '@espalier/core';
import type { Choice } from './choice.ts';
import { independentPolicy } from './policy-independent.ts';
import type { PolicyOptions } from './policy-options.ts';
import { trunkPolicy } from './policy-trunk.ts';
import { globalPolicy, type Policy } from './policy.ts';

/** The policy that options choose, with its variables; undefined where nothing is learnt. */
export function policyFor(host: Host, options: PolicyOptions, choice: Choice): Policy | undefined {
  if (options.kind === 'trunk') return trunkPolicy(host, options, choice.start(options.prior));
  if (options.kind === 'independent') return independentPolicy(host, options, choice.start(options.prior));
  return options.kind === 'global' ? globalPolicy(host, choice.start(options.prior)) : undefined;
}
