import { add, kaiming, matMul, uniform, type Initializer, type ParameterPoint, type Value } from '@espalier/core';

/** Makes a variable when the plugin is attached, or finds it again by its name. */
export type Variables = (path: string, shape: readonly number[], initializer: Initializer) => ParameterPoint;
/** A variable as it is in force. */
export type Read = (variable: ParameterPoint) => Value;
/** A function of values and of variables. */
export type Layer = (x: Value, read: Read) => Value;

/** A bias as torch.nn.Linear starts it: uniform within 1 / sqrt(in). */
export const biasOf = (inputs: number): Initializer => uniform(1 / Math.sqrt(inputs));

/** y = x kernel + bias, as torch.nn.Linear starts; [N, in] -> [N, out]. */
export function dense(variables: Variables, path: string, inputs: number, outputs: number): Layer {
  const kernel = variables(`${path}.kernel`, [inputs, outputs], kaiming);
  const bias = variables(`${path}.bias`, [outputs], biasOf(inputs));
  return (x, read) => add(matMul(x, read(kernel)), read(bias));
}
