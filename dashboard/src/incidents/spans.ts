/** Which stretch of the signals shows an incident: some time before, all of it, and a little after. */

import type { Incident, Point, Signal } from '../api/shapes.ts';

/** Seconds. */
const LEAST_BEFORE = 240;
const MOST_BEFORE = 3600;
const AFTER = 120;
/** About so many points are drawn. */
const POINTS = 200;
const STEPS = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600];
/** The stretch of an open incident grows by so much at a time, so that not every second is a new question. */
const GROWS = 60;

export interface Stretch {
  /** Unix seconds; `null`: to the newest. */
  at: number | null;
  window: string;
  step: string;
}

/** `now`: unix seconds. */
export function stretch(incident: Pick<Incident, 'began' | 'closed'>, now: number): Stretch {
  const end = incident.closed === null ? now : Math.min(now, incident.closed + AFTER);
  const lasted = Math.max(0, end - incident.began);
  const before = Math.min(MOST_BEFORE, Math.max(LEAST_BEFORE, lasted * 0.6));
  const length = Math.ceil((lasted + before) / GROWS) * GROWS;
  const step = STEPS.find((one) => length / one <= POINTS) ?? 3600;
  return { at: incident.closed === null ? null : Math.ceil(end), window: `${length}s`, step: `${step}s` };
}

/** What of a point a symptom is about; an objective is about the requests that were bad. */
export function measured(signal: Signal, point: Exclude<Point, { gap: true }>): number | null {
  if (typeof signal !== 'string') return point.errorRate;
  switch (signal) {
    case 'latencyP50':
      return point.p50;
    case 'latencyP99':
      return point.p99;
    case 'rate':
      return point.rate;
    case 'saturation':
      return point.inFlight;
    default:
      return point.errorRate;
  }
}

/** The scale of a signal's chart reaches at least so high. */
export function least(signal: Signal): number {
  return signal === 'errorRatio' || typeof signal !== 'string' ? 0.05 : 1;
}
