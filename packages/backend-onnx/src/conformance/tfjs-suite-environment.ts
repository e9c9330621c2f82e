import * as tf from '@tensorflow/tfjs';
import * as util from '@tensorflow/tfjs-core/dist/jasmine_util.js';

export * from '@tensorflow/tfjs-core/dist/jasmine_util.js';

const NEEDS = new Map<util.Constraints, string>([
  [util.BROWSER_ENVS, 'needs a browser'], [util.CHROME_ENVS, 'needs Chrome'], [util.HAS_WORKER, 'needs web workers'],
]);

/**
 * In place of tfjs's own in its test files: no spec vanishes. A group for another environment, which tfjs leaves out, has its
 * specs registered as skipped, within a group that is called by what it needs.
 */
export function describeWithFlags(name: string, constraints: util.Constraints, tests: (env: util.TestEnv) => void): void {
  const [environment] = util.TEST_ENVS;
  if (!environment || util.envSatisfiesConstraints(tf.env(), environment, constraints)) return util.describeWithFlags(name, constraints, tests);
  const jasmine: Record<string, unknown> & { describe?: (name: string, body: () => void) => void } = globalThis;
  const it = jasmine['it'];
  jasmine['it'] = jasmine['xit'];
  try {
    jasmine.describe?.(`${NEEDS.get(constraints) ?? 'needs another backend'}:`, () => jasmine.describe?.(name, () => tests(environment)));
  } finally {
    jasmine['it'] = it;
  }
}
