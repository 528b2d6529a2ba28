/** A forecast as a chart's lines and bands: one time axis for what came and what is expected. */

import type { Capacity, Forecast } from '../api/shapes.ts';
import { span } from '../text/time.ts';

type Values = (number | null)[];

export interface Drawn {
  times: number[];
  came: Values;
  expected: Values;
  low80: Values;
  high80: Values;
  low95: Values;
  high95: Values;
}

/** When a service is full, by the forecast: in words. */
export function full(of: Pick<Capacity, 'reachedIn' | 'mayBeReachedIn'>): string {
  if (of.reachedIn !== null) return of.reachedIn <= 0 ? 'now' : `in ${span(of.reachedIn * 1000)}`;
  if (of.mayBeReachedIn !== null) return of.mayBeReachedIn <= 0 ? 'maybe now' : `maybe in ${span(of.mayBeReachedIn * 1000)}`;
  return 'not foreseen';
}

/** What is expected begins where what came ends, so that the lines meet. */
export function drawn(of: Forecast): Drawn {
  const measured = of.history.filter((point) => point.rate !== null);
  const last = measured.at(-1);
  const ahead = of.forecast.filter((point) => last === undefined || point.at > last.at);
  const meeting = last?.rate ?? null;
  const joined =
    last === undefined || meeting === null || ahead.length === 0
      ? ahead
      : [{ at: last.at, rate: meeting, low80: meeting, high80: meeting, low95: meeting, high95: meeting }, ...ahead];
  const came = new Map(of.history.map((point) => [point.at, point.rate]));
  const expected = new Map(joined.map((point) => [point.at, point]));
  const times = [...new Set([...came.keys(), ...expected.keys()])].sort((a, b) => a - b);
  const line = (field: 'rate' | 'low80' | 'high80' | 'low95' | 'high95'): Values =>
    times.map((time) => expected.get(time)?.[field] ?? null);
  return {
    times,
    came: times.map((time) => came.get(time) ?? null),
    expected: line('rate'),
    low80: line('low80'),
    high80: line('high80'),
    low95: line('low95'),
    high95: line('high95'),
  };
}

/** How often what came lay outside of what was said of it. */
export function misses(past: Forecast['past']): { outside: number; known: number } {
  const known = past.filter((point) => point.actual !== null);
  const outside = known.filter(({ actual, low95, high95 }) => actual !== null && (actual < low95 || actual > high95));
  return { outside: outside.length, known: known.length };
}
