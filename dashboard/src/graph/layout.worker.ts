/** Runs the layout beside the page, so that a large mesh never makes it stutter. */

import { layout, type Wanted } from './layout.ts';

self.onmessage = (event: MessageEvent<{ id: number; wanted: Wanted }>) => {
  self.postMessage({ id: event.data.id, placed: layout(event.data.wanted) });
};
