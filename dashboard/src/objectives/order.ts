/** Objectives in the order in which they need attention, and in words. */

import type { Objective } from '../api/shapes.ts';
import { milliseconds } from '../text/units.ts';

const RANK: Record<Objective['alert'], number> = { page: 0, ticket: 1, none: 2 };

export function ordered(objectives: readonly Objective[]): Objective[] {
  return [...objectives].sort(
    (a, b) =>
      RANK[a.alert] - RANK[b.alert] ||
      a.budgetLeft - b.budgetLeft ||
      `${a.service} ${a.name}`.localeCompare(`${b.service} ${b.name}`),
  );
}

const UNITS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400 };

function seconds(window: string): number {
  const found = /^(\d+)([smhd])$/.exec(window);
  return found === null ? 0 : Number(found[1]) * (UNITS[found[2] ?? ''] ?? 0);
}

/** The windows over which any of them burns, the shortest first. */
export function windows(objectives: readonly Objective[]): string[] {
  const all = new Set(objectives.flatMap((objective) => objective.burn.map((one) => one.window)));
  return [...all].sort((a, b) => seconds(a) - seconds(b));
}

/** All digits of a target: 99.95 % is not 100 %. */
export function share(target: number): string {
  return `${Number((target * 100).toPrecision(12))} %`;
}

/** `99.9 % answered well`, `99 % within 250 ms`. */
export function promise(objective: Pick<Objective, 'kind' | 'target' | 'thresholdMs'>): string {
  const good = objective.kind === 'latency' ? `within ${milliseconds(objective.thresholdMs)}` : 'answered well';
  return `${share(objective.target)} ${good}`;
}

/** Of a budget, so many percent; below nothing when it is overdrawn. */
export function left(budget: number): string {
  const value = budget * 100;
  if (Math.abs(value) >= 10 || value === 0) return `${value.toFixed(0)} %`;
  return `${value.toFixed(1)} %`;
}
