export { pretune, type PretunedBlock, type PretuneOptions } from './pretune.ts';
export { toast } from './toast.ts';
