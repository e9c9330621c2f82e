import { cursor, decoded } from './pickle-cursor.ts';
import { allowedGlobal, applyGlobal, storageOf } from './pickle-globals.ts';
import { LIMITS, newMachine, pop, popMark, push, top, type Machine } from './pickle-machine.ts';
import { asKind, describe, type Pickled, type Storage } from './pickle-values.ts';

/** What a pickle holds, the storages that it speaks of, and the byte behind it. */
export interface Unpickled {
  readonly value: Pickled;
  readonly storages: ReadonlyMap<string, Storage>;
  readonly end: number;
}

/**
 * Reads the pickle that begins at `start`, as data: names are looked up in a table of those that torch.save needs, and
 * nothing is imported, called or constructed. @throws CheckpointError naming an opcode or a name that is not allowed, or
 * the limit that is exceeded; CutOffError where `data` ends before the pickle.
 */
export function unpickle(data: Uint8Array, start: number, who: string): Unpickled {
  const machine = newMachine(cursor(data, start, who), who);
  for (;;) {
    machine.charge(1);
    const code = machine.in.byte();
    if (code === STOP) {
      const value = pop(machine);
      if (machine.stack.length > 0 || machine.marks.length > 0) machine.in.fail('values are left over at the end of the pickle');
      return { value, storages: machine.storages, end: machine.in.at };
    }
    const opcode = OPCODES.get(code);
    if (!opcode) return machine.in.fail(`opcode 0x${code.toString(16).padStart(2, '0')} is not among those that torch.save writes; refused`);
    opcode(machine);
  }
}

function setItems(m: Machine, items: readonly Pickled[]): void {
  const target = top(m);
  const dict = asKind(target, 'dict');
  if (!dict || items.length % 2 > 0) return m.in.fail(`${items.length} keys and values are put into a ${describe(target)}`);
  for (let i = 0; i < items.length; i += 2) dict.entries.set(items[i]!, items[i + 1]!);
  m.contain(dict, items);
}

function append(m: Machine, items: readonly Pickled[]): void {
  const target = top(m);
  const list = asKind(target, 'list');
  if (!list) return m.in.fail(`a value is appended to a ${describe(target)}`);
  for (const item of items) list.items.push(item);
  m.contain(list, items);
}

function memoise(m: Machine, index: number): void {
  if (m.memo.size >= LIMITS.memo) m.in.fail(`the pickle remembers more than ${LIMITS.memo} values; refused`);
  m.memo.set(index, top(m));
}

function recall(m: Machine, index: number): void {
  const value = m.memo.get(index);
  push(m, value === undefined ? m.in.fail(`the pickle recalls value ${index}, which it did not remember`) : value);
}

function pushGlobal(m: Machine, module: string, name: string): void {
  const full = `${module}.${name}`;
  const found = allowedGlobal(full);
  push(m, found ?? m.in.fail(`refused: ${full} is no name of a state dict and is never executed. If you trust the file, convert it in Python: safetensors.torch.save_file(state_dict, 'model.safetensors')`));
}

function reduce(m: Machine): void {
  const args = pop(m);
  const callee = pop(m);
  const result = applyGlobal(callee, args, m.charge);
  if (typeof result === 'string') return m.in.fail(result);
  const { value } = result;
  if (typeof value === 'object' && value !== null) m.make(value, asKind(value, 'dict') ? [args] : []);
  else push(m, value);
}

/** The state of an OrderedDict holds `_metadata`, which is of no use here. */
function build(m: Machine): void {
  pop(m);
  const target = top(m);
  if (!asKind(target, 'dict')) m.in.fail(`a ${describe(target)} is given a state`);
}

function persistent(m: Machine): void {
  const found = storageOf(pop(m));
  if (typeof found === 'string') return m.in.fail(found);
  const known = m.storages.get(found.key) ?? found;
  if (known.dtype !== found.dtype || known.count !== found.count)
    m.in.fail(`storage '${found.key}' is ${found.count} ${found.dtype} here and ${known.count} ${known.dtype} before`);
  m.storages.set(found.key, known);
  m.make(known, []);
}

function long(m: Machine): void {
  const bytes = m.in.bytes(m.in.byte());
  const value = bytes.reduceRight((all, byte) => (all << 8n) | BigInt(byte), 0n);
  const signed = BigInt.asIntN(8 * bytes.length, value);
  push(m, Number.isSafeInteger(Number(signed)) ? Number(signed) : signed);
}

/** A str of Python 2: text where it is UTF-8, else bytes. */
function byteString(m: Machine, length: number): void {
  const bytes = m.bytes(length);
  push(m, decoded(bytes) ?? bytes);
}

function stackGlobal(m: Machine): void {
  const name = pop(m);
  const module = pop(m);
  if (typeof name !== 'string' || typeof module !== 'string' || name.length + module.length > LIMITS.name) return m.in.fail('a name is no short text');
  pushGlobal(m, module, name);
}

function frame(m: Machine): void {
  const length = m.in.u64();
  if (!Number.isSafeInteger(length)) m.in.fail(`a frame claims ${length} bytes`);
}

function tuple(m: Machine, items: readonly Pickled[]): void {
  m.make({ kind: 'tuple', items }, items);
}

function pops(m: Machine, count: number): Pickled[] {
  return Array.from({ length: count }, () => pop(m)).reverse();
}

function dict(m: Machine, items: readonly Pickled[]): void {
  m.make({ kind: 'dict', entries: new Map() }, []);
  setItems(m, items);
}

const STOP = 0x2e;

/** The opcodes that torch.save writes, by Python 2 and by later protocols too. Every other is refused. */
const OPCODES: ReadonlyMap<number, (m: Machine) => void> = new Map<number, (m: Machine) => void>([
  [0x80, (m) => { if (m.in.byte() > 5) m.in.fail('the pickle is of a protocol after 5'); }], // PROTO
  [0x95, frame], // FRAME
  [0x28, (m) => { if (m.marks.push(m.stack.length) > LIMITS.marks) m.in.fail(`more than ${LIMITS.marks} marks are open; refused`); }], // MARK
  [0x30, (m) => { if (m.marks.at(-1) === m.stack.length) m.marks.pop(); else pop(m); }], // POP
  [0x63, (m) => pushGlobal(m, m.in.line(LIMITS.name), m.in.line(LIMITS.name))], // GLOBAL
  [0x93, stackGlobal], // STACK_GLOBAL
  [0x52, reduce], // REDUCE
  [0x81, reduce], // NEWOBJ
  [0x62, build], // BUILD
  [0x51, persistent], // BINPERSID
  [0x4e, (m) => push(m, null)], // NONE
  [0x88, (m) => push(m, true)], // NEWTRUE
  [0x89, (m) => push(m, false)], // NEWFALSE
  [0x4b, (m) => push(m, m.in.byte())], // BININT1
  [0x4d, (m) => push(m, m.in.u16())], // BININT2
  [0x4a, (m) => push(m, m.in.i32())], // BININT
  [0x8a, long], // LONG1
  [0x47, (m) => push(m, m.in.f64())], // BINFLOAT
  [0x58, (m) => push(m, m.text(m.in.u32()))], // BINUNICODE
  [0x8c, (m) => push(m, m.text(m.in.byte()))], // SHORT_BINUNICODE
  [0x54, (m) => byteString(m, m.in.u32())], // BINSTRING
  [0x55, (m) => byteString(m, m.in.byte())], // SHORT_BINSTRING
  [0x42, (m) => push(m, m.bytes(m.in.u32()))], // BINBYTES
  [0x43, (m) => push(m, m.bytes(m.in.byte()))], // SHORT_BINBYTES
  [0x29, (m) => tuple(m, [])], // EMPTY_TUPLE
  [0x74, (m) => tuple(m, popMark(m))], // TUPLE
  [0x85, (m) => tuple(m, pops(m, 1))], // TUPLE1
  [0x86, (m) => tuple(m, pops(m, 2))], // TUPLE2
  [0x87, (m) => tuple(m, pops(m, 3))], // TUPLE3
  [0x5d, (m) => m.make({ kind: 'list', items: [] }, [])], // EMPTY_LIST
  [0x6c, (m) => { const items = popMark(m); m.make({ kind: 'list', items }, items); }], // LIST
  [0x61, (m) => append(m, pops(m, 1))], // APPEND
  [0x65, (m) => append(m, popMark(m))], // APPENDS
  [0x7d, (m) => dict(m, [])], // EMPTY_DICT
  [0x64, (m) => dict(m, popMark(m))], // DICT
  [0x73, (m) => setItems(m, pops(m, 2))], // SETITEM
  [0x75, (m) => setItems(m, popMark(m))], // SETITEMS
  [0x71, (m) => memoise(m, m.in.byte())], // BINPUT
  [0x72, (m) => memoise(m, m.in.u32())], // LONG_BINPUT
  [0x94, (m) => memoise(m, m.memo.size)], // MEMOIZE
  [0x68, (m) => recall(m, m.in.byte())], // BINGET
  [0x6a, (m) => recall(m, m.in.u32())], // LONG_BINGET
]);
