export { tangent } from './tangent.ts';
export { regularise } from './regulariser.ts';
