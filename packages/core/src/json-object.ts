/**
 * The entries of a JSON object. JSON.parse keeps the last of two equal names without a word, here they are refused, at
 * any depth. @throws SyntaxError
 */
export function parseJsonObject(text: string): Map<string, unknown> {
  const json: unknown = JSON.parse(text);
  if (!isObject(json)) throw new SyntaxError('not an object');
  const twice = repeatedName(text);
  if (twice !== undefined) throw new SyntaxError(`the name ${JSON.stringify(twice)} stands twice`);
  return new Map(Object.entries(json));
}

/** An object of JSON, no list. */
export const isObject = (json: unknown): json is object => typeof json === 'object' && json !== null && !Array.isArray(json);

/** The first name that stands twice in one object of `text`, which is valid JSON. */
function repeatedName(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = []; // the names of every open brace; a bracket has none
  for (let at = 0; at < text.length; at++) {
    const c = text[at];
    if (c === '{') open.push(new Set());
    else if (c === '[') open.push(undefined);
    else if (c === '}' || c === ']') open.pop();
    else if (c === '"') {
      const end = closingQuote(text, at);
      const names = open.at(-1);
      if (names && text[afterSpace(text, end + 1)] === ':') {
        const name = String(JSON.parse(text.slice(at, end + 1)));
        if (names.has(name)) return name;
        names.add(name);
      }
      at = end;
    }
  }
  return undefined;
}

/** Where the string that begins at `at` ends. No regular expression: those give up on strings of megabytes. */
function closingQuote(text: string, at: number): number {
  let end = at + 1;
  while (text[end] !== '"') end += text[end] === '\\' ? 2 : 1;
  return end;
}

function afterSpace(text: string, at: number): number {
  while (text.charCodeAt(at) <= 0x20) at++;
  return at;
}
