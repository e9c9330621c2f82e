import { ELEMENT, type Attribute, type Constant, type ElementType, type NamedConstant, type OnnxNode } from './onnx.ts';

/** Collects the nodes of one ONNX graph; equal constants are stored once. */
export class GraphBuilder {
  readonly nodes: OnnxNode[] = [];
  readonly constants: NamedConstant[] = [];
  private readonly known = new Map<string, string>();
  private fresh = 0;
  /** What the nodes being added belong to: in error messages ONNX Runtime names the node. */
  label = '';

  /** Adds a node with named outputs. */
  into(outputs: readonly string[], op: string, inputs: readonly string[], attributes: Readonly<Record<string, Attribute>> = {}, domain = ''): void {
    this.nodes.push({ name: `${this.label}#${this.nodes.length}`, op, domain, inputs, outputs, attributes });
  }

  /** Adds a node with one output and gives its name. */
  node(op: string, inputs: readonly string[], attributes?: Readonly<Record<string, Attribute>>, domain?: string): string {
    const name = `x${this.fresh++}`;
    this.into([name], op, inputs, attributes, domain);
    return name;
  }

  constant(c: Constant): string {
    const key = `${c.type}[${c.dims.join()}]${c.data.join()}`;
    const known = this.known.get(key);
    if (known !== undefined) return known;
    const name = `c${this.constants.length}`;
    this.constants.push({ ...c, name });
    this.known.set(key, name);
    return name;
  }

  float(x: number): string {
    return this.constant({ type: 'float32', dims: [], data: Float32Array.of(x) });
  }

  /** A scalar of the given type. */
  scalar(x: number, type: 'float32' | 'int32'): string {
    return type === 'float32' ? this.float(x) : this.constant({ type, dims: [], data: Int32Array.of(x) });
  }

  /** A vector of 64-bit integers, as shapes, axes and positions are given. */
  ints(xs: readonly number[]): string {
    return this.constant({ type: 'int64', dims: [xs.length], data: BigInt64Array.from(xs, BigInt) });
  }

  cast(x: string, to: ElementType): string {
    return this.node('Cast', [x], { to: ELEMENT[to] });
  }
}
