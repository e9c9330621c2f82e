import { CheckpointError } from '@espalier/core';
import { describe, expect, it } from 'vitest';
import { bytesOf, call, dict, get, global, int, op, pickle, proto, put, storage, tensor, text, tuple, u32, type Part } from '../fixtures/pickle-bytes.ts';
import { CutOffError } from './pickle-cursor.ts';
import { unpickle } from './pickle.ts';
import type { Pickled } from './pickle-values.ts';

const value = (...parts: readonly Part[]) => unpickle(pickle(...parts), 0, 'test.pt').value;
const list = (...items: readonly Pickled[]) => ({ kind: 'list', items });
const ascii = (s: string) => new TextEncoder().encode(s);

describe('values', () => {
  it.each<[string, Part, unknown]>([
    ['none', op.none, null],
    ['true and false', [op.mark, op.yes, op.no, op.list], list(true, false)],
    ['small integers', [op.mark, 0x4b, 200, 0x4d, 1, 2, int(-7), op.list], list(200, 513, -7)],
    ['long integers', [op.mark, 0x8a, 0, 0x8a, 1, 0xff, 0x8a, 2, 0x00, 0x80, 0x8a, 8, 255, 255, 255, 255, 255, 255, 255, 127, op.list], list(0, -1, -32768, 2n ** 63n - 1n)],
    ['floats', [0x47, 0x40, 0x04, 0, 0, 0, 0, 0, 0], 2.5],
    ['texts of every kind', [op.mark, text('é'), 0x8c, 1, 0x61, 0x55, 2, 0xc3, 0xa9, 0x54, u32(1), 0xe9, op.list], list('é', 'a', 'é', Uint8Array.of(0xe9))],
    ['bytes', [op.mark, 0x43, 2, 1, 2, 0x42, u32(1), 3, op.list], list(Uint8Array.of(1, 2), Uint8Array.of(3))],
    ['tuples', [op.mark, op.emptyTuple, int(1), 0x85, int(1), int(2), 0x86, int(1), int(2), int(3), 0x87, op.tuple], { kind: 'tuple', items: [[], [1], [1, 2], [1, 2, 3]].map((items) => ({ kind: 'tuple', items })) }],
    ['lists that grow', [op.emptyList, int(1), op.append, op.mark, int(2), int(3), op.appends], list(1, 2, 3)],
    ['dicts', [op.mark, int(1), text('a'), op.dict, text('b'), op.none, op.setItem], { kind: 'dict', entries: new Map<Pickled, Pickled>([[1, 'a'], ['b', null]]) }],
    ['names of prototypes as keys', dict(['__proto__', int(1)], ['constructor', int(2)]), { kind: 'dict', entries: new Map([['__proto__', 1], ['constructor', 2]]) }],
    ['remembered values', [op.mark, text('a'), put(2 ** 31), op.pop, get(2 ** 31), text('b'), op.memoize, 0x68, 1, 0x71, 255, 0x68, 255, op.list], list('a', 'b', 'b', 'b')],
    ['a dropped mark', [op.mark, op.pop, op.none], null],
    ['frames', [0x95, u32(3), u32(0), op.none], null],
    ['names from the stack', [text('collections'), text('OrderedDict'), op.stackGlobal, op.emptyTuple, op.newobj], { kind: 'dict', entries: new Map() }],
    ['an OrderedDict of pairs, with a state', [call(global('collections', 'OrderedDict'), [op.mark, tuple(text('a'), int(1)), [op.mark, text('b'), int(2), op.list], op.list]), dict(['_metadata', op.none]), op.build], { kind: 'dict', entries: new Map([['a', 1], ['b', 2]]) }],
    ['a size', call(global('torch', 'Size'), tuple(int(2))), { kind: 'tuple', items: [2] }],
    ['a set', call(global('__builtin__', 'set'), op.emptyList), { kind: 'opaque' }],
  ])('%s', (_, parts, expected) => {
    expect(value(parts)).toEqual(expected);
  });

  it('tensors and parameters', () => {
    const expected = { kind: 'tensor', storage: { kind: 'storage', dtype: 'F16', key: 'x', count: 6 }, offset: 1, shape: [2], strides: [3] };
    const parts = tensor([tuple(text('storage'), global('torch.cuda', 'HalfStorage'), text('x'), text('cuda:1'), int(6), op.none), op.persistent], int(1), tuple(int(2)), tuple(int(3)));
    expect(value(parts)).toEqual(expected);
    expect(value(call(global('torch._utils', '_rebuild_parameter'), parts, op.yes, op.none))).toEqual(expected);
  });

  it('one behind the other, with where each ends', () => {
    const data = bytesOf(pickle(int(1)), pickle(text('two')));
    const first = unpickle(data, 0, 'test.pt');
    expect(first).toMatchObject({ value: 1, end: 8 });
    expect(unpickle(data, first.end, 'test.pt')).toMatchObject({ value: 'two', end: data.length });
  });
});

describe('what is refused', () => {
  const nested = (depth: number): Part => [Array.from({ length: depth }, () => op.emptyList), Array.from({ length: depth - 1 }, () => op.append)];
  it.each<[string, Part, string]>([
    ['os.system', call(global('posix', 'system'), text('echo')), 'refused: posix.system is no name of a state dict and is never executed'],
    ['a builtin', global('__builtin__', 'eval'), 'refused: __builtin__.eval'],
    ['a name from the stack', [text('os'), text('system'), op.stackGlobal], 'refused: os.system'],
    ['a name with dots', global('torch', 'nn.Module'), 'refused: torch.nn.Module'],
    ['a name of JavaScript', global('constructor', 'constructor'), 'refused: constructor.constructor'],
    ['a name too long', global('a'.repeat(300), 'b'), 'a name is longer than 256 bytes'],
    ['a call of a text', call(text('f')), 'a string is called'],
    ['a call of a type', call(global('torch', 'FloatStorage')), 'a torch.FloatStorage is called'],
    ['a call with no tuple', [global('torch', 'Size'), op.none, op.reduce], 'called with a None'],
    ['opcode INST', [op.mark, 0x69, ascii('os\nsystem\n')], 'opcode 0x69'],
    ['opcode OBJ', 0x6f, 'opcode 0x6f'],
    ['opcode EXT1', [0x82, 1], 'opcode 0x82'],
    ['opcode LONG4', [0x8b, u32(1), 1], 'opcode 0x8b'],
    ['opcode DUP', [op.none, 0x32], 'opcode 0x32'],
    ['a protocol to come', proto(6), 'protocol after 5'],
    ['a value that is not there', op.build, 'takes a value that is not there'],
    ['a value below a mark', [op.none, op.mark, op.append], 'takes a value that is not there'],
    ['a mark that is not there', op.tuple, 'takes a mark that is not there'],
    ['values left over', [op.none, op.none], 'left over'],
    ['a value never remembered', get(5), 'recalls value 5'],
    ['appending to a dict', [op.emptyDict, op.none, op.append], 'appended to a dict'],
    ['a key without a value', [op.emptyDict, op.mark, op.none, op.setItems], '1 keys and values'],
    ['a state of a text', [text('x'), op.none, op.build], 'a string is given a state'],
    ['an OrderedDict of no pairs', call(global('collections', 'OrderedDict'), [op.mark, int(1), op.list]), 'something else than pairs'],
    ['source of a module', [tuple(text('module'), text('Net'), text('import os')), op.persistent], "Python source of a module ('module'), which is refused and never executed"],
    ['another persistent id', [tuple(text('file'), text('/etc/passwd')), op.persistent], "a persistent id is 'file'"],
    ['a persistent id that is a text', [text('storage'), op.persistent], 'a persistent id is nothing'],
    ['a storage of an unknown type', [tuple(text('storage'), global('torch', 'Size'), text('0'), text('cpu'), int(1)), op.persistent], 'of type torch.Size'],
    ['a storage of less than nothing', storage('0', -1), "storage '0' has -1 as count"],
    ['a storage with a view', [tuple(text('storage'), global('torch', 'FloatStorage'), text('0'), text('cpu'), int(1), tuple(int(1))), op.persistent], 'before 0.4'],
    ['a storage of two types', [op.mark, storage('0', 4), storage('0', 4, 'IntStorage'), op.list], "storage '0' is 4 I32 here and 4 F32 before"],
    ['a storage of two counts', [op.mark, storage('0', 4), storage('0', 5), op.list], "storage '0' is 5 F32 here and 4 F32 before"],
    ['a tensor of no storage', tensor(op.none), 'lies in a None'],
    ['a parameter of no tensor', call(global('torch._utils', '_rebuild_parameter'), op.none), 'a parameter holds a None'],
    ['a tensor beyond its storage', tensor(storage(), int(1)), "reaches value 4 of storage '0', which has 4"],
    ['a stride beyond its storage', tensor(storage(), int(0), tuple(int(2)), tuple(int(4))), 'reaches value 4'],
    ['a negative stride', tensor(storage(), int(3), tuple(int(4)), tuple(int(-1))), 'negative strides are refused'],
    ['a negative offset', tensor(storage(), int(-1)), 'offset is -1'],
    ['a negative size', tensor(storage(), int(0), tuple(int(-4))), 'its size is (-4)'],
    ['a size of text', tensor(storage(), int(0), tuple(text('4'))), 'its size is (string)'],
    ['a stride too few', tensor(storage(), int(0), tuple(int(2), int(2))), '2 sizes and 1 strides'],
    ['a size beyond all files', tensor(storage(), int(0), tuple(...Array.from({ length: 5 }, () => int(2 ** 30))), tuple(...Array.from({ length: 5 }, () => int(0)))), 'larger than any file'],
    ['an expansion of few values into many', tensor(storage(), int(0), tuple(int(2 ** 30)), tuple(int(0))), 'repeats the 4 values'],
    ['deep nesting', nested(101), 'more than 100 containers inside each other'],
    ['marks without end', Array.from({ length: 1001 }, () => op.mark), 'more than 1000 marks'],
    ['text that is not UTF-8', [0x58, u32(1), 0xff], 'not UTF-8'],
    ['a frame beyond all files', [0x95, u32(1), u32(2 ** 31)], 'a frame claims'],
  ])('%s', (_, parts, words) => {
    const read = () => value(parts);
    expect(read).toThrow(CheckpointError);
    expect(read).toThrow(words);
    expect(read).toThrow('test.pt: ');
  });

  it('lengths beyond the bytes at hand, before anything is allocated', () => {
    for (const code of [0x58, 0x54, 0x42]) expect(() => unpickle(bytesOf(proto(), code, u32(0xffffff)), 0, 'test.pt')).toThrow(CutOffError);
    expect(() => unpickle(bytesOf(proto(), 0x58, u32(0xffffffff)), 0, 'test.pt')).toThrow('bytes in one text');
  });

  it('every pickle that is cut off', () => {
    const whole = pickle(dict(['w', tensor()], ['f', [0x47, 0, 0, 0, 0, 0, 0, 0, 0]]));
    for (let length = 0; length < whole.length; length++) expect(() => unpickle(whole.subarray(0, length), 0, 'test.pt')).toThrow(CutOffError);
  });

  it.each<[string, Uint8Array, string]>([
    ['steps', new Uint8Array(5_000_001).map((_, i) => (i % 2 ? op.pop : op.none)), 'more than 5000000 steps'],
    ['objects', new Uint8Array(2_000_003).map((_, i) => (i % 2 ? op.pop : op.emptyDict)), 'more than 1000000 objects'],
    ['values on the stack', new Uint8Array(1_000_002).fill(op.none), 'more than 1000000 values'],
    ['remembered values', new Uint8Array(1_000_002).fill(op.memoize, 1).fill(op.none, 0, 1), 'remembers more than 1000000'],
    ['copied pairs', pickle(
      [op.mark, Array.from({ length: 1000 }, () => tuple(op.none, op.none)), op.list, put(0)],
      Array.from({ length: 5100 }, () => call(global('collections', 'OrderedDict'), get(0))),
    ), 'more than 5000000 steps'],
  ])('bombs of %s', (_, data, words) => {
    expect(() => unpickle(data, 0, 'test.pt')).toThrow(words);
  });
});
