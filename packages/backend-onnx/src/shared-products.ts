import type { OnnxGraph, OnnxNode } from './onnx.ts';

/**
 * The same graph in which equal nodes are one, and products that several nodes read have a name that ONNX Runtime fuses with
 * nothing: FusedMatMul without flags is MatMul. Version 1.16 makes Gemm(a, b, y) of a b + y, where y is another product, and
 * does not count that Gemm among the readers of y: where one more node adds to y, y becomes a Gemm as well, and is gone.
 * It finds equal nodes itself, but not among Microsoft's operators.
 */
export function protectShared({ nodes, outputs: results, ...graph }: OnnxGraph): OnnxGraph {
  const wanted = new Set(results.map((r) => r.name));
  const first = new Map<string, readonly string[]>(); // outputs of a node, by what it computes
  const renamed = new Map<string, string>();
  const kept: OnnxNode[] = [];
  for (const node of nodes) {
    const inputs = node.inputs.map((name) => renamed.get(name) ?? name);
    const key = JSON.stringify([node.op, node.domain, inputs, node.attributes], (_, x: unknown) => (typeof x === 'bigint' ? String(x) : x));
    const same = first.get(key);
    if (!same) {
      first.set(key, node.outputs);
      kept.push({ ...node, inputs });
      continue;
    }
    node.outputs.forEach((name, i) => {
      if (wanted.has(name)) kept.push({ name: `${node.name}=${i}`, op: 'Identity', domain: '', inputs: [same[i]!], outputs: [name], attributes: {} });
      else renamed.set(name, same[i]!);
    });
  }
  const reads = new Map<string, number>();
  for (const { inputs } of kept) for (const name of inputs) reads.set(name, (reads.get(name) ?? 0) + 1);
  const isShared = ({ op, outputs: [y] }: OnnxNode) => op === 'MatMul' && y !== undefined && (reads.get(y) ?? 0) > 1;
  return { ...graph, outputs: results, nodes: kept.map((n) => (isShared(n) ? { ...n, op: 'FusedMatMul', domain: 'com.microsoft' } : n)) };
}
