/** Places for the members of a large namespace, in milliseconds: ranks as calls go, each near its neighbours, no crossings counted. */

import { CARD } from './card.ts';

/** Times that members are moved towards those they call and are called by. */
const SWEEPS = 4;

interface Space {
  row: number;
  rank: number;
}

/** The top left corner of each member. `down`: calls go down instead of right. */
export function ranks(
  members: number[],
  edges: [number, number][],
  { aspect, down, space }: { aspect: number; down: boolean; space: Space },
): Map<number, { x: number; y: number }> {
  const calls = new Map<number, number[]>(members.map((member) => [member, []]));
  for (const [from, to] of edges) calls.get(from)?.push(to);
  const rows = sweep(levels(members, calls), calls);
  // Across: along a rank. A rank that is too long for the picture is wrapped.
  const [across, along] = down
    ? [CARD.width + space.row, CARD.height + space.rank]
    : [CARD.height + space.row, CARD.width + space.rank];
  const shape = down ? aspect : 1 / aspect;
  const limit = Math.max(4, Math.ceil(Math.sqrt((members.length * along * shape) / across)));
  const spots = new Map<number, { x: number; y: number }>();
  let column = 0;
  for (const row of rows) {
    for (let from = 0; from < row.length; from += limit) {
      row.slice(from, from + limit).forEach((member, place) => {
        const [one, other] = [place * across, column * along];
        spots.set(member, down ? { x: one, y: other } : { x: other, y: one });
      });
      column += 1;
    }
  }
  return spots;
}

/** Members by how few calls lead to them from whoever nobody calls; in a circle, from whom the fewest call. */
function levels(members: number[], calls: Map<number, number[]>): number[][] {
  const called = new Map<number, number>(members.map((member) => [member, 0]));
  for (const all of calls.values()) for (const to of all) called.set(to, (called.get(to) ?? 0) + 1);
  const order = [...members].sort((one, other) => (called.get(one) ?? 0) - (called.get(other) ?? 0) || one - other);
  const rows: number[][] = [];
  const seen = new Set<number>();
  for (const first of order) {
    if (seen.has(first)) continue;
    const alike = (member: number): boolean => !seen.has(member) && called.get(member) === 0;
    let row = called.get(first) === 0 ? order.filter(alike) : [first];
    row.forEach((member) => seen.add(member));
    for (let depth = 0; row.length > 0; depth += 1) {
      rows[depth] = [...(rows[depth] ?? []), ...row];
      const next: number[] = [];
      for (const to of row.flatMap((member) => calls.get(member) ?? [])) {
        if (seen.has(to)) continue;
        seen.add(to);
        next.push(to);
      }
      row = next;
    }
  }
  return rows;
}

/** Sorts each rank by where its neighbours stand, to and fro. */
function sweep(rows: number[][], calls: Map<number, number[]>): number[][] {
  const callers = new Map<number, number[]>();
  for (const [from, called] of calls) for (const to of called) callers.set(to, [...(callers.get(to) ?? []), from]);
  const place = new Map<number, number>();
  const number = (row: number[]): void => row.forEach((member, index) => place.set(member, index / Math.max(1, row.length)));
  rows.forEach(number);
  for (let turn = 0; turn < SWEEPS; turn += 1) {
    const near = turn % 2 === 0 ? callers : calls;
    for (const row of turn % 2 === 0 ? rows : [...rows].reverse()) {
      const middle = new Map<number, number>(
        row.map((member) => {
          const others = near.get(member) ?? [];
          const sum = others.reduce((all, other) => all + (place.get(other) ?? 0), 0);
          return [member, others.length === 0 ? (place.get(member) ?? 0) : sum / others.length];
        }),
      );
      row.sort((one, other) => (middle.get(one) ?? 0) - (middle.get(other) ?? 0) || one - other);
      number(row);
    }
  }
  return rows;
}
