export { distance, opCases, runCase, type Given, type OpCase } from './conformance/op-cases.ts';
