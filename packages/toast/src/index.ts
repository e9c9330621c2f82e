export { toast } from './toast.ts';
