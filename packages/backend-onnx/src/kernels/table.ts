import type { EmitterTable } from '../operation.ts';
import { casts } from './cast.ts';
import { elementwise } from './elementwise.ts';
import { indexing } from './indexing.ts';
import { products } from './products.ts';
import { reductions } from './reductions.ts';
import { shapes } from './shapes.ts';

/** Every kernel that is computed by ONNX Runtime, in lazy and eager mode alike. The others are the cpu backend's. */
export const emitters: EmitterTable = { ...elementwise, ...casts, ...reductions, ...products, ...shapes, ...indexing };
