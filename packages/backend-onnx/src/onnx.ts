import { protobufWriter, type ProtobufWriter } from './protobuf.ts';

/** Element types by their number in onnx.proto. */
export const ELEMENT = { float32: 1, uint8: 2, int32: 6, int64: 7, bool: 9, float64: 11 } as const;
export type ElementType = keyof typeof ELEMENT;

/** Constant data of a graph. */
export interface Constant {
  readonly type: ElementType;
  readonly dims: readonly number[];
  readonly data: Float32Array | Float64Array | Int32Array | Uint8Array | BigInt64Array;
}
export interface NamedConstant extends Constant {
  readonly name: string;
}

/** A node's attribute: an integer, integers, a string, a float, or a constant. */
export type Attribute = number | readonly number[] | string | { readonly float: number } | Constant;

export interface OnnxNode {
  readonly name: string;
  readonly op: string;
  readonly domain: string; // '' is ONNX's own
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}
export interface OnnxValue {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly number[]; // -1: known when the graph runs
}
export interface OnnxGraph {
  readonly nodes: readonly OnnxNode[];
  readonly constants: readonly NamedConstant[];
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
}

const IR_VERSION = 8;
const OPSET = 18;

/** A graph as a serialised ONNX ModelProto of opset 18 with Microsoft's operators, self-contained. */
export function encodeModel(graph: OnnxGraph): Uint8Array {
  const w = protobufWriter();
  w.int(1, IR_VERSION);
  w.string(2, 'espalier');
  w.message(7, () => {
    for (const n of graph.nodes) w.message(1, () => node(w, n));
    w.string(2, 'graph');
    for (const c of graph.constants) w.message(5, () => tensor(w, c, c.name));
    for (const v of graph.inputs) w.message(11, () => value(w, v));
    for (const v of graph.outputs) w.message(12, () => value(w, v));
  });
  for (const [domain, version] of [['', OPSET], ['com.microsoft', 1]] as const)
    w.message(8, () => {
      w.string(1, domain);
      w.int(2, version);
    });
  return w.finish();
}

function node(w: ProtobufWriter, { name, op, domain, inputs, outputs, attributes }: OnnxNode): void {
  for (const i of inputs) w.string(1, i);
  for (const o of outputs) w.string(2, o);
  w.string(3, name);
  w.string(4, op);
  for (const [key, x] of Object.entries(attributes)) w.message(5, () => attribute(w, key, x));
  if (domain) w.string(7, domain);
}

function attribute(w: ProtobufWriter, name: string, x: Attribute): void {
  w.string(1, name);
  if (typeof x === 'number') {
    w.int(3, x);
    w.int(20, 2);
  } else if (typeof x === 'string') {
    w.string(4, x);
    w.int(20, 3);
  } else if ('float' in x) {
    w.float(2, x.float);
    w.int(20, 1);
  } else if ('dims' in x) {
    w.message(5, () => tensor(w, x));
    w.int(20, 4);
  } else {
    for (const i of x) w.int(8, i);
    w.int(20, 7);
  }
}

function tensor(w: ProtobufWriter, { type, dims, data }: Constant, name?: string): void {
  for (const d of dims) w.int(1, d);
  w.int(2, ELEMENT[type]);
  if (name !== undefined) w.string(8, name);
  w.bytes(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)); // both are little-endian
}

function value(w: ProtobufWriter, { name, type, shape }: OnnxValue): void {
  w.string(1, name);
  w.message(2, () =>
    w.message(1, () => {
      w.int(1, ELEMENT[type]);
      w.message(2, () => {
        for (const d of shape) w.message(1, () => (d < 0 ? w.string(2, `${name} rows`) : w.int(1, d)));
      });
    }),
  );
}
