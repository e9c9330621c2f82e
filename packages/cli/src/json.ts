import { reasonOf, UsageError } from './errors.ts';

/** JSON from a text. @throws UsageError showing the place of the first mistake. */
export function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (e) {
    const at = mistakeIn(text, reasonOf(e));
    const before = text.slice(0, at).split('\n');
    const line = text.split('\n')[before.length - 1] ?? '';
    const column = before.at(-1)!.length;
    const from = Math.max(0, column - 40);
    throw new UsageError(
      `${where}: not JSON at line ${before.length}, column ${column + 1}: ${reasonOf(e)}\n  ${line.slice(from, from + 80)}\n  ${' '.repeat(column - from)}^\nNames and texts stand in double quotes, as in {"rank":8}.`,
    );
  }
}

/** The offset of the first character that cannot be part of the JSON text. */
function mistakeIn(text: string, message: string): number {
  const told = /position (\d+)/.exec(message)?.[1];
  if (told !== undefined) return Number(told);
  // For an unexpected token V8 names the token and not its place: it ends the shortest prefix with that complaint.
  for (let end = 1; end <= text.length; end++) {
    try {
      JSON.parse(text.slice(0, end));
    } catch (e) {
      if (reasonOf(e).startsWith('Unexpected token')) return end - 1;
    }
  }
  return text.length;
}
