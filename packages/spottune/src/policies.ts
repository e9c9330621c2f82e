import type { Host } from '@espalier/core';
import { independentPolicy } from './policy-independent.ts';
import type { PolicyOptions } from './policy-options.ts';
import { trunkPolicy } from './policy-trunk.ts';
import { globalPolicy, type Policy } from './policy.ts';

/** The policy that options choose, with its variables; undefined where nothing is learnt. */
export function policyFor(host: Host, options: PolicyOptions, gates: number): Policy | undefined {
  if (options.kind === 'trunk') return trunkPolicy(host, options, gates);
  if (options.kind === 'independent') return independentPolicy(host, options, gates);
  if (options.kind === 'global') return globalPolicy(host, options.prior, gates);
  return undefined;
}
