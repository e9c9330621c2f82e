export { composeFeedback } from './compose.ts';
export { pretune, type PretunedBlock, type PretuneOptions } from './pretune.ts';
export { steeringOf, type AttentionMap, type FeedbackMap, type PerToken, type Steering } from './steering.ts';
export { toast } from './toast.ts';
