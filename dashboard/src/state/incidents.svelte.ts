/** The incidents that are open, asked for once for the badge, the map and every page that names them. */

import { query } from '../api/client.ts';
import type { Incident, IncidentsAnswer } from '../api/shapes.ts';
import { Poll } from './poll.svelte.ts';

const EVERY_MS = 3000;
const MOST = 100;

const answer = new Poll<IncidentsAnswer>();

export const incidents = {
  /** Empty too while nothing is known. */
  get open(): Incident[] {
    return answer.value?.incidents ?? [];
  },
  /** Asks until the answer to this call is called. */
  watch(): () => void {
    return answer.start(query('/taut/v1/incidents', { state: 'open', limit: MOST }), EVERY_MS);
  },
};
