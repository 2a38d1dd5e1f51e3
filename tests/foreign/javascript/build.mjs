// Builds a JavaScript agent: node --input-type=module - SOURCE WIT_FOLDER WORLD OUTPUT < build.mjs, where npm installed componentize-js.

import { writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';

const [sourcePath, witPath, worldName, output] = process.argv.slice(2);
// Without these features the component imports no WASI, only what its world says.
const disableFeatures = ['stdio', 'random', 'clocks', 'http', 'fetch-event'];
const { component } = await componentize({ sourcePath, witPath, worldName, disableFeatures });
await writeFile(output, component);
