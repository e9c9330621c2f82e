/** One training run of a comparison, named so that its result can be found again. */
export interface Row {
  readonly name: string; // SETTING/BACKBONE/METHOD/SEED
  readonly setting: string;
  readonly backbone: string;
  readonly method: string;
  readonly seed: number;
  readonly data: string; // 'easy-vqa' stands for easy-vqa:DIR, wherever DIR is
  readonly args: readonly string[]; // further options of `espalier train`
}

interface Setting {
  readonly name: string;
  readonly data: string;
  readonly backbones: readonly string[];
  readonly methods: readonly string[];
  readonly seeds: readonly number[];
  readonly args: readonly string[];
}

/** A method's plugins and its learning rate. Rates were not searched: one guess for small sets of variables, a sixth of it for all of them. */
const methods: Readonly<Record<string, readonly string[]>> = {
  'head only': ['--lr', '3e-3'],
  lora: ['--plugin', 'lora:{}', '--lr', '3e-3'],
  full: ['--plugin', 'tune:{"preset":"all"}', '--lr', '5e-4'],
};

const settings: readonly Setting[] = [
  {
    name: 'easy-vqa-1000',
    data: 'easy-vqa',
    backbones: ['lxmert'],
    methods: ['head only', 'lora', 'full'],
    seeds: [0],
    args: ['--limit-train', '1000', '--epochs', '10', '--patience', '3'],
  },
  { name: 'easy-vqa', data: 'easy-vqa', backbones: ['lxmert'], methods: ['full'], seeds: [0], args: ['--epochs', '3'] },
];

/** Every row of every comparison, in the order in which they are run. */
export const rows: readonly Row[] = settings.flatMap(({ name, data, backbones, methods: names, seeds, args }) =>
  backbones.flatMap((backbone) =>
    names.flatMap((method) =>
      seeds.map((seed): Row => ({
        name: `${name}/${backbone}/${method}/${seed}`,
        setting: name,
        backbone,
        method,
        seed,
        data,
        args: ['--backbone', backbone, '--size', 'small', '--weights', `${backbone}-small`, ...(methods[method] ?? []), ...args, '--seed', String(seed)],
      })),
    ),
  ),
);
