export { lora } from './lora.ts';
