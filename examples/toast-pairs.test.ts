import { adapt, type Adapted } from '@espalier/core';
import { gift } from '@espalier/gift';
import { lora } from '@espalier/lora';
import { decisionsOf, spottune } from '@espalier/spottune';
import { jitter, tinyModels, toBeBitEqual, toDiffer, type TinyInputs } from '@espalier/testing';
import { toast } from '@espalier/toast';
import { afterAll, describe, expect, it } from 'vitest';

const { two, inputs } = await tinyModels(afterAll);

/** How often each site of a role was passed, by pass. */
async function passes(adapted: Adapted<TinyInputs>, role: string): Promise<Map<number, number>> {
  const seen = new Map<number, number>();
  const y = await adapted.forward(inputs, { observe: (site, _, step) => site.role === role && seen.set(step.pass, (seen.get(step.pass) ?? 0) + 1) });
  y.dispose();
  return seen;
}

describe('TOAST beside other methods', () => {
  it.each([['LoRA', () => lora({ rank: 2 })], ['GIFT', () => gift({ rank: 4 })]] as const)('%s is in force in both passes, and without feedback alone', async (_, other) => {
    const together = adapt(two, [toast({ to: 0 }), other()]);
    const alone = adapt(two, [other()]);
    for (const adapted of [together, alone]) jitter(adapted);
    for (const [name, { variable }] of together.parameters) if (/\.b$/.test(name) && name.startsWith('toast')) variable.assign(variable.mul(0));
    toBeBitEqual(await together.forward(inputs), await alone.forward(inputs), 'output with B = 0');
    jitter(together);
    toDiffer(await together.forward(inputs), await alone.forward(inputs), 1e-3, 'output with feedback');
  });

  it("SpotTune decides once, for both passes, and what it routes around is steered", async () => {
    const options = { policy: { kind: 'trunk', prior: 0.5, hidden: 6 }, temperature: 1 } as const;
    const adapted = adapt(two, [toast({ to: 0 }), spottune(options)]);
    jitter(adapted);
    const alone = adapt(two, [spottune(options)]);
    for (const [name, { variable }] of alone.parameters) variable.assign(adapted.parameters.get(name)!.variable);
    const [own, other] = [await decisionsOf(adapted, inputs), await decisionsOf(alone, inputs)];
    expect(JSON.stringify(own)).toBe(JSON.stringify(other));
    expect([...(await passes(adapted, 'ffn.hidden')).keys()].sort()).toEqual([0, 1]);
  });
});
