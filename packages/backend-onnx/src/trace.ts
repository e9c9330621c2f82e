import { sameShape, type HostType } from './arrays.ts';
import { GraphBuilder } from './builder.ts';
import { encodeModel, type OnnxValue } from './onnx.ts';
import type { Reading, RecordedNode } from './recorded.ts';
import { protectShared } from './shared-products.ts';
import { hasRows, openShape } from './ragged.ts';
import type { Storage } from './storage.ts';

/** Recorded nodes that are worth running, as one graph: equal keys are equal graphs. */
export interface Trace {
  readonly key: string;
  readonly nodes: readonly RecordedNode[];
  readonly leaves: readonly Reading[]; // arrays it reads and does not compute
  readonly outputs: readonly Storage[];
  readonly macs: number;
}

/**
 * Leaves out what nothing wanted depends on, and describes the rest. `wanted` says which computed arrays are results.
 */
export function traceOf(recorded: readonly RecordedNode[], wanted: (s: Storage) => boolean): Trace {
  for (let i = recorded.length - 1; i >= 0; i--) {
    const node = recorded[i]!;
    node.needed ||= node.outputs.some(wanted);
    if (node.needed) for (const { storage } of node.inputs) if (storage.producer) storage.producer.needed = true;
  }
  const nodes = recorded.filter((n) => n.needed);
  const ids = new Map<Storage, number>();
  const leaves: Reading[] = [];
  const leafShapes = new Map<Storage, readonly number[]>();
  const outputs: Storage[] = [];
  const key: (string | number)[] = [];
  let macs = 0;
  for (const node of nodes) {
    key.push('n', node.signature);
    macs += node.operation.macs ?? 0;
    for (const reading of node.inputs) {
      const { storage, shape } = reading;
      const known = ids.get(storage);
      if (known === undefined) {
        ids.set(storage, ids.size);
        leaves.push(reading);
        leafShapes.set(storage, shape);
        key.push(storage.ragged ? 'r' : storage.uniform ? 'u' : 'l', storage.dtype, shape.join('x'));
      } else {
        key.push(known);
        if (!sameShape(leafShapes.get(storage) ?? storage.shape, shape)) key.push(shape.join('x'));
      }
    }
    for (const s of node.outputs) {
      ids.set(s, ids.size);
      if (!wanted(s)) continue;
      outputs.push(s);
      key.push('o');
    }
    node.needed = false; // for a later trace of the same nodes
  }
  return { key: key.join(' '), nodes, leaves, outputs, macs };
}

/** A graph's input or output, which TensorFlow.js holds. */
export interface HostValue extends OnnxValue {
  readonly type: HostType;
}

export interface Model {
  readonly bytes: Uint8Array;
  readonly inputs: readonly HostValue[]; // the trace's leaves
  readonly outputs: readonly HostValue[];
  /** The recorded node that an ONNX node's name stands for. */
  source(name: string): RecordedNode | undefined;
}

/** The ONNX model of a trace. */
export function modelOf({ nodes, leaves, outputs }: Trace): Model {
  const graph = new GraphBuilder();
  const names = new Map<Storage, string>();
  const shapes = new Map<Storage, readonly number[]>();
  const inputs = leaves.map(({ storage, shape }, i): HostValue => {
    names.set(storage, `i${i}`);
    shapes.set(storage, shape);
    return { name: `i${i}`, type: storage.dtype, shape: storage.ragged ? openShape(shape) : shape };
  });
  const views = new Map<string, string>();
  const read = ({ storage, shape }: Reading): string => {
    const name = names.get(storage)!;
    if (sameShape(shapes.get(storage)!, shape)) return name;
    const key = `${name}:${shape.join('x')}`;
    const known = views.get(key);
    if (known !== undefined) return known;
    const view = graph.node('Reshape', [name, graph.ints(storage.ragged ? openShape(shape) : shape)]);
    views.set(key, view);
    return view;
  };
  // Where rows are ragged, an array that is the same in every row is read as one row.
  const reader = ({ inputs, outputs: [result], operation }: RecordedNode) => (x: Reading): string => {
    const entrywise = result?.ragged && operation.rows?.(inputs.map((i) => i.storage.ragged !== undefined)) === 'each';
    if (!entrywise || x.storage.ragged || !hasRows(x.shape, result.shape)) return read(x);
    return graph.node('Slice', [read(x), graph.ints([0]), graph.ints([1]), graph.ints([0])]);
  };
  nodes.forEach((node, i) => {
    graph.label = `${node.kernel}@${i}`;
    const results = node.outputs.map((s, j) => {
      const name = `n${i}_${j}`;
      names.set(s, name);
      shapes.set(s, s.shape);
      return name;
    });
    node.operation.emit(graph, node.inputs.map(reader(node)), results);
  });
  const results = outputs.map((s) => ({ name: names.get(s)!, type: s.dtype, shape: s.ragged ? openShape(s.shape) : s.shape }));
  return {
    bytes: encodeModel(protectShared({ nodes: graph.nodes, constants: graph.constants, inputs, outputs: results })),
    inputs, outputs: results,
    source: (name) => nodes[Number(/@(\d+)#/.exec(name)?.[1])],
  };
}
