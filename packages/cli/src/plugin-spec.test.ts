import { describe, expect, it } from 'vitest';
import { parsePluginSpec } from './plugin-spec.ts';

describe('a plugin on the command line', () => {
  it.each([
    ['lora', { name: 'lora', options: {} }],
    ['lora:{"rank":4}', { name: 'lora', options: { rank: 4 } }],
    ['lora#a:{"at":{"path":"x:{y"}}', { name: 'lora', as: 'a', options: { at: { path: 'x:{y' } } }],
    ['@someone/method#b', { name: '@someone/method', as: 'b', options: {} }],
    ['./mine.js:{}', { name: './mine.js', options: {} }],
    ['C:\\plugins\\mine.js:{"x":1}', { name: 'C:\\plugins\\mine.js', options: { x: 1 } }],
    ['C:\\plugins\\mine.js', { name: 'C:\\plugins\\mine.js', options: {} }],
  ])('%s', (text, spec) => {
    expect(parsePluginSpec(text)).toEqual(spec);
  });

  it.each([
    ['lora:{rank:8}', 2, /plugin 'lora', options: not JSON at line 1, column 2/],
    ['lora:{"rank":x}', 9, /Unexpected token/],
    ['lora:{"rank":8', 10, /column 10/],
    ['lora:rank=8', 1, /double quotes, as in \{"rank":8\}/],
  ])('shows the mistake in %s', (text, column, message) => {
    expect(() => parsePluginSpec(text)).toThrow(message);
    expect(() => parsePluginSpec(text)).toThrow(new RegExp(`\n  .*\n  ${' '.repeat(column - 1)}\\^\n`));
  });

  it('needs the names it announces', () => {
    expect(() => parsePluginSpec(':{}')).toThrow(/the name is missing.*for example 'lora:\{"rank":8\}'/);
    expect(() => parsePluginSpec('lora#:{}')).toThrow(/the instance's name is missing after '#'/);
  });
});
