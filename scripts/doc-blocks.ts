/** A fenced block of TypeScript in a page. */
export interface DocBlock {
  readonly page: string;
  /** Line of the block's first line of code, from 1. */
  readonly line: number;
  readonly code: string;
  /** What follows `ts` on the opening fence; blocks must have nothing there. */
  readonly note: string;
}

const opening = /^( *)(`{3,}|~{3,})\s*(\w*)\s*(.*)$/;

/** The `ts` (or `typescript`, `tsx`) blocks of one Markdown page, in order. Throws when a block is not closed. */
export function docBlocks(page: string, text: string): DocBlock[] {
  const blocks: DocBlock[] = [];
  const lines = text.split(/\r?\n/);
  for (let i = 0; i < lines.length; i++) {
    const [, indent, fence, language, note] = opening.exec(lines[i]!) ?? [];
    if (indent === undefined || fence === undefined) continue;
    const start = i + 1;
    const isClosing = (line: string): boolean => line.trim().startsWith(fence) && line.trim().replaceAll(fence[0]!, '') === '';
    do i++;
    while (i < lines.length && !isClosing(lines[i]!));
    if (i === lines.length) throw new Error(`${page}:${start}: the block that starts here is not closed; add ${fence}`);
    if (!/^(ts|tsx|typescript)$/.test(language ?? '')) continue;
    const code = lines.slice(start, i).map((line) => (line.startsWith(indent) ? line.slice(indent.length) : line.trimStart()));
    blocks.push({ page, line: start + 1, code: code.join('\n'), note: note ?? '' });
  }
  return blocks;
}
