import { within, type StagePoint } from '@espalier/core';

interface Points {
  readonly stage: readonly StagePoint[];
  readonly site: readonly { readonly role: string; readonly stream: string | undefined }[];
}

const SUBLAYERS: readonly string[] = ['attention', 'cross', 'ffn'];

/**
 * Scopes that the answer does not depend on, by going backwards from the stream that the answer is read from: a stage is alive
 * when it writes a live stream, and makes what it reads alive. In LXMERT's last cross block that leaves out self-attention
 * and feed-forward of vision. Nothing is left out where a model does not say which stream its answer is read from.
 */
export function deadScopes({ stage, site }: Points): readonly string[] {
  const answer = site.find((s) => s.role === 'logits')?.stream;
  const streams = new Set(stage.flatMap((s) => s.writes));
  if (answer === undefined || !streams.has(answer)) return [];
  const live = new Set([answer]);
  const dead: string[] = [];
  const blocks = stage.filter((s) => s.role === 'block').sort((a, b) => b.block! - a.block!);
  for (const block of blocks) {
    const inside = stage.filter((s) => SUBLAYERS.includes(s.role) && within(s.covers, block.covers)).reverse();
    for (const sublayer of inside) {
      if (sublayer.writes.some((name) => live.has(name))) sublayer.reads.forEach((name) => live.add(name));
      else dead.push(sublayer.covers);
    }
  }
  return dead;
}
