import { definePlugin, type Hook, type Host, type Named, type Plugin } from '@espalier/core';
import { z } from 'zod';

/** A plugin without options, from what it does when attached. */
export const inline = (name: string, attach: (host: Host) => readonly Hook[], named?: Named): Plugin =>
  definePlugin({ name, version: '0.1.0', hookApi: '1.0', options: z.strictObject({}), attach })({}, named);
