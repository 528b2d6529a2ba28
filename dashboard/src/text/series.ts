/** Series of the server as lines of charts: one time axis for all, the largest few by name, gaps as gaps. */

import type { Point, SeriesAnswer } from '../api/shapes.ts';

export const MOST_LINES = 6;

export interface Lines {
  times: number[];
  names: string[];
  /** `null` where nothing was measured. */
  points: (Exclude<Point, { gap: true }> | null)[][];
  /** Series that are not shown. */
  left: number;
}

/** `{version: "v2"}` as `v2`; a workload with its namespace. */
export function keyName(key: Record<string, unknown>): string {
  const text = (name: string): string => (typeof key[name] === 'string' ? (key[name] as string) : '');
  if (text('version') !== '' && text('workload') === '') return text('version');
  const workload = text('workload') || text('app') || text('name') || text('service');
  if (workload !== '') return text('namespace') === '' || workload === 'unknown' ? workload : `${text('namespace')}/${workload}`;
  return (
    Object.values(key)
      .filter((value) => typeof value === 'string' && value !== '')
      .join(' ') || 'all'
  );
}

/** Without the newest step: it is not over, and what it holds so far would look like a fall. */
export function settled(answer: SeriesAnswer | null): SeriesAnswer | null {
  if (answer === null) return null;
  const newest = Math.max(...answer.series.flatMap((one) => one.points.map((point) => point.at)));
  return { ...answer, series: answer.series.map((one) => ({ ...one, points: one.points.filter((point) => point.at < newest) })) };
}

export function lines(answer: SeriesAnswer | null): Lines {
  const series = answer?.series ?? [];
  const total = (points: Point[]): number => points.reduce((sum, point) => sum + (point.gap === true ? 0 : point.rate), 0);
  const busiest = new Set([...series].sort((a, b) => total(b.points) - total(a.points)).slice(0, MOST_LINES));
  const shown = series
    .filter((one) => busiest.has(one))
    .sort((a, b) => keyName(a.key).localeCompare(keyName(b.key), undefined, { numeric: true }));
  const times = [...new Set(shown.flatMap((one) => one.points.map((point) => point.at)))].sort((a, b) => a - b);
  const points = shown.map((one) => {
    const byTime = new Map(one.points.map((point) => [point.at, point]));
    return times.map((time) => {
      const point = byTime.get(time);
      return point === undefined || point.gap === true ? null : point;
    });
  });
  return { times, names: shown.map((one) => keyName(one.key)), points, left: series.length - shown.length };
}

/** Requests and errors of all series together, step by step; a gap only where no series has a measurement. */
export function total(
  answer: SeriesAnswer | null,
): ({ at: number; gap: true } | { at: number; gap?: false; rate: number; errorRate: number })[] {
  const sums = new Map<number, { rate: number; errors: number } | null>();
  for (const { points } of answer?.series ?? []) {
    for (const point of points) {
      const sum = sums.get(point.at) ?? null;
      if (point.gap === true) sums.set(point.at, sum);
      else sums.set(point.at, { rate: (sum?.rate ?? 0) + point.rate, errors: (sum?.errors ?? 0) + point.rate * point.errorRate });
    }
  }
  const inOrder = [...sums].sort(([a], [b]) => a - b);
  return inOrder.map(([at, sum]) =>
    sum === null ? { at, gap: true } : { at, rate: sum.rate, errorRate: sum.rate === 0 ? 0 : sum.errors / sum.rate },
  );
}
