/** One training run of a comparison, named so that its result can be found again. */
export interface Row {
  readonly name: string; // SETTING/BACKBONE/METHOD/SEED
  readonly setting: string;
  readonly backbone: string;
  readonly method: string;
  readonly seed: number;
  readonly data: string; // 'easy-vqa' stands for easy-vqa:DIR, wherever DIR is
  readonly args: readonly string[]; // further options of `espalier train`
  readonly pretune: readonly string[] | undefined; // options of an `espalier pretune` on the same questions, from which it starts
}

interface Setting {
  readonly name: string;
  readonly data: string;
  readonly backbones: readonly string[];
  readonly methods: Readonly<Record<string, string>>; // name -> learning rate
  readonly seeds: readonly number[];
  readonly args: readonly string[];
}

/** SpotTune with a learnt policy, which has a rate of its own. */
function policy(options: string): readonly string[] {
  return ['--plugin', `spottune:${options.replace('BUDGET', '"readout":"cls","estimator":"reinmax","budget":{"kind":"target","rate":0.5,"weight":10,"by":"macs"}')}`, '--group', 'policy:{"lr":1e-3}'];
}

/** SpotTune's family at the rates of what it trains: copies of weights as `full`, what is added to frozen ones as `gift`. */
const routed = { frozen: '3e-3', standard: '5e-4', 'last 2': '5e-4', 'spottune block': '5e-4', spottune: '5e-4', blockdrop: '5e-4', 'routed gift': '3e-3', 'global mask': '5e-4', random: '5e-4' };

/** What a method puts on the backbone. Rates, below, were not searched. */
const plugins: Readonly<Record<string, readonly string[]>> = {
  'head only': [],
  lora: ['--plugin', 'lora:{}'],
  // Where GIFT acts by default: what attention gives back.
  'lora output': ['--plugin', 'lora:{"at":{"role":["attention.output","cross.output"]}}'],
  gift: ['--plugin', 'gift:{}'],
  full: ['--plugin', 'tune:{"preset":"all"}'],
  // SpotTune and its controls. Everything that opens some of its gates opens half, counted by multiply-adds.
  frozen: ['--plugin', 'spottune:{"strategy":"frozen"}'],
  standard: ['--plugin', 'spottune:{"strategy":"standard"}'],
  'last 2': ['--plugin', 'spottune:{"strategy":"last_k","last":2}'],
  'spottune block': policy('{"strategy":"spottune_block",BUDGET}'),
  spottune: policy('{"strategy":"spottune",BUDGET}'),
  blockdrop: policy('{"strategy":"blockdrop","policy":{"kind":"trunk","prior":0.9},BUDGET}'),
  'routed gift': [...policy('{"copies":false,BUDGET}'), '--plugin', 'gift:{}'],
  'global mask': policy('{"strategy":"global",BUDGET}'),
  random: ['--plugin', 'spottune:{"strategy":"random","policy":{"kind":"random","rate":0.5}}'],
  // On LXMERT the cross blocks alone, where a single stream is steered whole.
  toast: ['--plugin', 'toast:{}'],
  'toast pre-tuned': ['--plugin', 'toast:{}'],
  'toast lite': ['--plugin', 'toast:{"feedback":"lite"}'],
  'toast everywhere': ['--plugin', 'toast:{"to":0}'],
  'toast, all tokens': ['--plugin', 'toast:{"gate":false}'],
  'toast, no channels': ['--plugin', 'toast:{"freezeA":true}'],
  'toast, B alone': ['--plugin', 'toast:{"gate":false,"freezeA":true}'],
  'toast, by the question': ['--plugin', 'toast:{"task":"question"}'],
};

/** Methods that begin with a feedback path solved for on the training questions, without their answers. */
const pretuned: readonly string[] = ['toast pre-tuned'];

const settings: readonly Setting[] = [
  {
    name: 'easy-vqa-1000',
    data: 'easy-vqa',
    backbones: ['lxmert'],
    methods: { 'head only': '3e-3', lora: '3e-3', full: '5e-4' },
    seeds: [0],
    args: ['--limit-train', '1000', '--epochs', '10', '--patience', '3'],
  },
  { name: 'easy-vqa', data: 'easy-vqa', backbones: ['lxmert'], methods: { full: '5e-4' }, seeds: [0], args: ['--epochs', '3'] },
  {
    name: 'easy-vqa-components',
    data: 'easy-vqa',
    backbones: ['lxmert'],
    methods: { full: '5e-4' },
    seeds: [0],
    args: ['--features', 'components', '--epochs', '10'],
  },
  {
    name: 'gift-1000',
    data: 'easy-vqa',
    backbones: ['lxmert', 'vl-bert'],
    methods: { 'lora output': '3e-3', gift: '3e-3' },
    seeds: [0, 1, 2],
    args: ['--limit-train', '1000', '--epochs', '10', '--patience', '3'],
  },
  {
    name: 'gift-all',
    data: 'easy-vqa',
    backbones: ['lxmert', 'vl-bert'],
    methods: { 'lora output': '3e-3', gift: '3e-3' },
    seeds: [0],
    args: ['--features', 'components', '--epochs', '4'],
  },
  { name: 'spottune-1000', data: 'easy-vqa', backbones: ['lxmert'], methods: routed, seeds: [0, 1, 2], args: ['--limit-train', '1000', '--epochs', '10', '--patience', '3'] },
  { name: 'spottune-all', data: 'easy-vqa', backbones: ['lxmert'], methods: routed, seeds: [0], args: ['--features', 'components', '--epochs', '4'] },
  {
    name: 'toast-1000',
    data: 'easy-vqa',
    backbones: ['lxmert'],
    methods: { toast: '3e-3', 'toast pre-tuned': '3e-3', 'toast lite': '3e-3', 'toast everywhere': '3e-3', lora: '3e-3', gift: '3e-3', full: '5e-4' },
    seeds: [0, 1, 2],
    args: ['--limit-train', '1000', '--epochs', '10', '--patience', '3'],
  },
  {
    name: 'toast-1000',
    data: 'easy-vqa',
    backbones: ['vl-bert'],
    methods: { toast: '3e-3', 'toast pre-tuned': '3e-3', 'toast lite': '3e-3', lora: '3e-3', gift: '3e-3', full: '5e-4' },
    seeds: [0, 1, 2],
    args: ['--limit-train', '1000', '--epochs', '10', '--patience', '3'],
  },
  {
    name: 'toast-all',
    data: 'easy-vqa',
    backbones: ['lxmert', 'vl-bert'],
    methods: { toast: '3e-3', 'toast pre-tuned': '3e-3', 'toast lite': '3e-3', lora: '3e-3', gift: '3e-3', full: '5e-4' },
    seeds: [0],
    args: ['--features', 'components', '--epochs', '4'],
  },
  {
    name: 'toast-ablation',
    data: 'easy-vqa',
    backbones: ['lxmert'],
    methods: { 'toast, all tokens': '3e-3', 'toast, no channels': '3e-3', 'toast, B alone': '3e-3', 'toast, by the question': '3e-3' },
    seeds: [0],
    args: ['--limit-train', '1000', '--epochs', '10', '--patience', '3'],
  },
];

/** Every row of every comparison, in the order in which they are run. */
export const rows: readonly Row[] = settings.flatMap(({ name, data, backbones, methods: names, seeds, args }) =>
  backbones.flatMap((backbone) =>
    Object.entries(names).flatMap(([method, rate]) =>
      seeds.map((seed): Row => {
        const place = ['--backbone', backbone, '--size', 'small', '--weights', `${backbone}-small`, ...(plugins[method] ?? [])];
        const end = [...args, '--seed', String(seed)];
        return {
          name: `${name}/${backbone}/${method}/${seed}`,
          setting: name,
          backbone,
          method,
          seed,
          data,
          args: [...place, '--lr', rate, ...end],
          pretune: pretuned.includes(method) ? [...place, ...end] : undefined,
        };
      }),
    ),
  ),
);
