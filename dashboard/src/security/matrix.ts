/** Flows as a matrix: callers down, services across; what policies say against what was seen. */

import type { Flow } from '../api/shapes.ts';

/** What a cell says, the most urgent last. */
export type Verdict = 'allowed' | 'denied' | 'carried' | 'refused' | 'plaintext';

export interface Cell {
  verdict: Verdict;
  flow: Flow;
}

export interface Matrix {
  callers: string[];
  services: string[];
  cells: Map<string, Cell>;
  /** Rows and columns that are not shown. */
  left: number;
}

export const WORDS: Record<Verdict, string> = {
  allowed: 'may, not seen',
  denied: 'may not',
  carried: 'seen over mutual TLS',
  refused: 'tried and refused',
  plaintext: 'seen in plaintext',
};

export function verdict(flow: Flow): Verdict {
  const seen = flow.observed !== null && flow.observed.requests > 0;
  if (seen && (flow.observed?.refused ?? 0) > 0) return 'refused';
  if (seen && (flow.security === 'plaintext' || flow.security === 'mixed')) return 'plaintext';
  if (seen || (flow.observed !== null && flow.deniedBy === null)) return 'carried';
  return flow.deniedBy === null ? 'allowed' : 'denied';
}

export function matrix(flows: readonly Flow[], typed: string, most: number): Matrix {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = flows.filter((flow) => words.every((word) => `${flow.from} ${flow.to}`.toLowerCase().includes(word)));
  const weight = (of: 'from' | 'to'): Map<string, number> => {
    const sums = new Map<string, number>();
    for (const flow of wanted) {
      const urgent = verdict(flow) === 'refused' || verdict(flow) === 'plaintext' ? 1000 : 0;
      sums.set(flow[of], (sums.get(flow[of]) ?? 0) + 1 + urgent);
    }
    return sums;
  };
  const top = (sums: Map<string, number>): string[] =>
    [...sums]
      .sort(([a, x], [b, y]) => y - x || a.localeCompare(b))
      .slice(0, most)
      .map(([name]) => name)
      .sort();
  const [from, to] = [weight('from'), weight('to')];
  const [callers, services] = [top(from), top(to)];
  const cells = new Map<string, Cell>();
  for (const flow of wanted) {
    const key = `${flow.from}>${flow.to}`;
    const known = cells.get(key);
    const next = { verdict: verdict(flow), flow };
    if (known === undefined || URGENCY.indexOf(next.verdict) > URGENCY.indexOf(known.verdict)) cells.set(key, next);
  }
  return { callers, services, cells, left: from.size - callers.length + (to.size - services.length) };
}

const URGENCY: readonly Verdict[] = ['allowed', 'denied', 'carried', 'refused', 'plaintext'];
