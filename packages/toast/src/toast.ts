import { add, around, definePlugin, EspalierError, evaluate, scale, streamOf, value, type Hook, type Host, type SitePoint, type Slot, type Step, type Streams, type Value } from '@espalier/core';
import { contextOf } from './context.ts';
import { feedbackOf, type Feedback } from './feedback.ts';
import { layoutOf, usesOf, type Descent, type Layout } from './layout.ts';
import { options, settingsOf, type Settings } from './options.ts';
import { pretuneCommand } from './command.ts';
import { prepare } from './prepare.ts';
import { readoutsOf } from './readouts.ts';
import { reconstructionOf, seenIn } from './reconstruction.ts';
import { selectionOf } from './selection.ts';

/** The pass in which signals are there. */
const SECOND = { passes: [1, Infinity] } as const;

/**
 * TOAST: a frozen encoder runs twice, and in the second pass every block l in [to, from) reads
 * V_l = W_V (u_l + td_l) + b_V with td_l = [clip(cos(X, xi), 0, 1) X] P (B_l A_l A_(l+1) .. A_(from-1))', where X [B, T, d] are the
 * features of the first pass and u_l what the value projection reads. Queries, keys, residuals and feed-forwards are
 * untouched. Shi et al., arXiv 2305.15542. Blocks before `to` run once. With `init: 'safe'` (B = 0) the second pass is the
 * first. It depends on the input and cannot be merged.
 * @throws OptionsError for options that contradict each other or the model. @throws EspalierError, while running, when another
 * plugin lengthens a stream between the passes' places.
 */
export const toast = definePlugin({
  name: 'toast',
  version: '0.1.0',
  hookApi: '1.0',
  options,
  prepare,
  commands: [pretuneCommand],
  attach(host, given) {
    const settings = settingsOf(given);
    const layout = layoutOf(host.model.scope.points, settings);
    const ways = layout.descents.map((descent) => ({ descent, selection: selectionOf(host, descent, settings), feedback: feedbackOf(host, descent, settings) }));
    const slots = new Map(layout.descents.flatMap((d) => usesOf(d).map((use) => [use, host.slot<Value>(`signal ${use.path}`)] as const)));
    const gates = new Map(settings.gate ? layout.descents.map(({ stream }) => [stream, host.slot<Value>(`gate ${stream}`)] as const) : []);

    const send = (top: Streams, step: Step): void => {
      const context = contextOf(host, top, step);
      for (const { descent, selection, feedback } of ways) {
        const gate = selection.gate(context, step);
        if (gate) step.set(gates.get(descent.stream)!, gate);
        for (const [use, td] of feedback.signals(selection.selected(context, gate, step), step)) step.set(slots.get(use)!, td);
      }
    };
    return [
      twice(layout, settings, send),
      ...[...slots].flatMap(([use, slot]) => use.sites.flatMap((site) => injected(host, site, slot, settings))),
      ...(settings.reconstruction > 0 ? ways.flatMap(({ descent, feedback }) => reconstructed(descent, feedback, settings)) : []),
      ...readoutsOf(host, layout, { signals: slots, gates }),
    ];
  },
});

/** Pass one up to `from`; feedback; pass two from `to` on. What is the same in both passes runs once. */
function twice({ encoder, from, to, descents }: Layout, { dropout }: Settings, send: (top: Streams, step: Step) => void): Hook {
  const blocks = descents.flatMap((d) => d.levels.map((l) => l.block));
  const quiet = dropout === 'second' ? { training: false } : {};
  return around(encoder, 'repeat', (run, streams, step) => {
    const shared = to === 0 ? streams : run(streams, { range: [0, to], ...quiet });
    const top = run(shared, { range: [to, from], ...quiet });
    const pass = step.pass + 1;
    // Where nothing that reads the signals runs before the learning phase, they are computed there alone.
    const ahead = step.with({ pass }).table;
    const later = step.shared.prefix?.observing === true && blocks.every((block) => ahead.touched(block));
    if (!later) send(top, step);
    return run(shared, { pass, range: [to, Infinity] });
  });
}

/** The signal on what a value linear reads; for the released classifier its bias once more. */
function injected(host: Host, site: SitePoint, slot: Slot<Value>, { fidelity, steerPretrained: always }: Settings): Hook[] {
  const where = { ...SECOND, always };
  const hook = value(site, (x, step) => {
    const td = step.get(slot);
    requireSameTokens(site, td, x);
    return add(x, td);
  }, where);
  if (fidelity === 'described') return [hook];
  const linear = site.of!;
  const outputs = host.sites({ role: linear.role }).filter((s) => 'input' in s && s.input === site);
  const again = outputs.map((output) => value(output, (y, step) => {
    const { bias } = step.weight(linear);
    return bias ? add(y, bias) : y;
  }, where));
  return [hook, ...again];
}

/** Feedback goes token by token. @throws EspalierError where a signal [B, T, d] has other tokens than what it is added to. */
export function requireSameTokens({ path, stream }: SitePoint, td: Value, x: Value): void {
  const [given, read] = [td.shape.join(', '), x.shape.join(', ')];
  if (given !== read)
    throw new EspalierError(`'toast' feeds [${given}] back to '${path}', which reads [${read}]: feedback goes token by token, so stream '${stream}' must have the same tokens where it is taken and where it goes. A plugin that adds tokens must do so in front of the encoder.`);
}

/** c times the reconstruction of every block's input from its output, in the second pass. */
function reconstructed({ stream, levels }: Descent, { trunk }: Feedback, { reconstruction }: Settings): Hook[] {
  if (!trunk) return [];
  return levels.map(({ block }, i) =>
    around(block, 'edit', (run, streams, step) => {
      const after = run(streams);
      const [lower, upper] = [streamOf(streams, stream), streamOf(after, stream)];
      const share = step.positions.length / step.shared.batch; // of a branch that not all samples take
      const loss = reconstructionOf(trunk[i]!, upper.hidden, lower.hidden, seenIn(lower.mask), step);
      step.loss('toast reconstruction', evaluate(scale(loss, reconstruction * share)));
      return after;
    }, { ...SECOND }),
  );
}
