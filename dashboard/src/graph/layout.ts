/** Where things stand on the map: each namespace is laid out by itself, left to right as calls go, then the namespaces are. */

import * as dagre from '@dagrejs/dagre';
import { CARD } from './card.ts';
import { ranks } from './ranks.ts';

const PAD = { side: 18, top: 38, bottom: 18 };
const SPACE = { row: 20, rank: 78, group: 46 };
/** More namespaces than this are packed in rows: ranks of many of them make a picture too wide to see. */
const MOST_RANKED = 9;
/** With more services than this, each counts with so many of its calls: order among many is not seen, and costs seconds. */
const MANY = 150;
const COUNTED = 2;
/** Services of one namespace that the library puts in order, on a small map and on a large one: a thousand take it minutes. */
const MOST_DRAWN = { small: 60, large: 12 };
/** Ranks say more than rows, so they may be so much smaller on the screen. */
const WORTH = 1.7;

export interface Wanted {
  nodes: { id: string; group: string }[];
  /** Pairs of indexes into `nodes`. */
  edges: [number, number][];
  /** Width by height of the place it is for. On a narrow one calls go down instead of right. */
  aspect: number;
}

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Placed {
  /** The top left corner of each node's card, in the order asked. */
  nodes: { x: number; y: number }[];
  groups: (Box & { name: string })[];
  width: number;
  height: number;
}

interface Inner {
  name: string;
  members: number[];
  spots: Map<number, { x: number; y: number }>;
  width: number;
  height: number;
}

export function layout({ nodes, edges, aspect }: Wanted): Placed {
  const byGroup = new Map<string, number[]>();
  nodes.forEach((node, index) => byGroup.set(node.group, [...(byGroup.get(node.group) ?? []), index]));
  const names = [...byGroup.keys()].sort();
  const inside = new Map<string, [number, number][]>(names.map((name) => [name, []]));
  const calls = new Map<number, number>();
  for (const [from, to] of edges) {
    const group = nodes[from]?.group;
    if (group === undefined || group !== nodes[to]?.group || from === to) continue;
    const counted = calls.get(from) ?? 0;
    calls.set(from, counted + 1);
    if (nodes.length <= MANY || counted < COUNTED) inside.get(group)?.push([from, to]);
  }
  const drawn = nodes.length > MANY ? MOST_DRAWN.large : MOST_DRAWN.small;
  const inners = names.map((name) => arrange(name, byGroup.get(name) ?? [], inside.get(name) ?? [], aspect, drawn));
  const between = traffic(nodes, edges);
  const rows = pack(inners, between, aspect);
  const ranks = inners.length > MOST_RANKED ? null : ranked(inners, between, aspect);
  const corners = ranks !== null && size(inners, ranks, aspect) <= size(inners, rows, aspect) * WORTH ? ranks : rows;
  const placed: { x: number; y: number }[] = nodes.map(() => ({ x: 0, y: 0 }));
  inners.forEach((inner, index) => {
    const corner = corners[index] ?? { x: 0, y: 0 };
    for (const [member, spot] of inner.spots) placed[member] = { x: corner.x + spot.x, y: corner.y + spot.y };
  });
  const groups = inners.map((inner, index) => ({
    name: inner.name,
    ...(corners[index] ?? { x: 0, y: 0 }),
    width: inner.width,
    height: inner.height,
  }));
  return {
    nodes: placed,
    groups,
    width: Math.max(0, ...groups.map((box) => box.x + box.width)),
    height: Math.max(0, ...groups.map((box) => box.y + box.height)),
  };
}

function direction(aspect: number): 'LR' | 'TB' {
  return aspect < 0.9 ? 'TB' : 'LR';
}

/** How much the picture must shrink to be seen whole. */
function size(inners: Inner[], corners: { x: number; y: number }[], aspect: number): number {
  const width = Math.max(1, ...inners.map((inner, index) => (corners[index]?.x ?? 0) + inner.width));
  const height = Math.max(1, ...inners.map((inner, index) => (corners[index]?.y ?? 0) + inner.height));
  return Math.max(width / aspect, height);
}

/** How many edges lead from one group to another. */
function traffic(nodes: Wanted['nodes'], edges: Wanted['edges']): Map<string, Map<string, number>> {
  const between = new Map<string, Map<string, number>>();
  for (const [from, to] of edges) {
    const [source, target] = [nodes[from]?.group, nodes[to]?.group];
    if (source === undefined || target === undefined || source === target) continue;
    const row = between.get(source) ?? new Map<string, number>();
    row.set(target, (row.get(target) ?? 0) + 1);
    between.set(source, row);
  }
  return between;
}

/** One namespace: who calls or is called in ranks, the others in a grid below. `drawn`: how many the library puts in order at most. */
function arrange(name: string, members: number[], edges: [number, number][], aspect: number, drawn: number): Inner {
  const joined = new Set(edges.flat());
  const spots = new Map<number, { x: number; y: number }>();
  let [width, bottom] = [0, 0];
  const large = members.length > 20;
  if (joined.size > drawn) {
    const inRanks = members.filter((member) => joined.has(member));
    const down = direction(aspect) === 'TB';
    for (const [member, spot] of ranks(inRanks, edges, { aspect, down, space: SPACE })) {
      spots.set(member, spot);
      width = Math.max(width, spot.x + CARD.width);
      bottom = Math.max(bottom, spot.y + CARD.height);
    }
  } else if (joined.size > 0) {
    const graph = new dagre.graphlib.Graph();
    graph.setGraph({
      rankdir: direction(aspect),
      nodesep: SPACE.row,
      ranksep: direction(aspect) === 'LR' ? SPACE.rank : SPACE.group,
      ranker: large ? 'longest-path' : 'tight-tree',
    });
    graph.setDefaultEdgeLabel(() => ({}));
    for (const member of members) if (joined.has(member)) graph.setNode(String(member), { ...CARD });
    for (const [from, to] of edges) graph.setEdge(String(from), String(to));
    dagre.layout(graph, { disableOptimalOrderHeuristic: large });
    for (const key of graph.nodes()) {
      const at = graph.node(key) as { x: number; y: number };
      const spot = { x: at.x - CARD.width / 2, y: at.y - CARD.height / 2 };
      spots.set(Number(key), spot);
      width = Math.max(width, spot.x + CARD.width);
      bottom = Math.max(bottom, spot.y + CARD.height);
    }
  }
  const alone = members.filter((member) => !joined.has(member));
  const fit = Math.ceil(Math.sqrt((alone.length * aspect * CARD.height) / CARD.width));
  const columns = Math.max(1, Math.min(alone.length, Math.max(fit, Math.floor(width / (CARD.width + SPACE.row)))));
  const top = bottom === 0 ? 0 : bottom + SPACE.row * 2;
  alone.forEach((member, index) => {
    const spot = {
      x: (index % columns) * (CARD.width + SPACE.row),
      y: top + Math.floor(index / columns) * (CARD.height + SPACE.row),
    };
    spots.set(member, spot);
    width = Math.max(width, spot.x + CARD.width);
    bottom = Math.max(bottom, spot.y + CARD.height);
  });
  for (const spot of spots.values()) {
    spot.x += PAD.side;
    spot.y += PAD.top;
  }
  return { name, members, spots, width: width + 2 * PAD.side, height: bottom + PAD.top + PAD.bottom };
}

function ranked(inners: Inner[], between: Map<string, Map<string, number>>, aspect: number): { x: number; y: number }[] {
  const graph = new dagre.graphlib.Graph();
  graph.setGraph({ rankdir: direction(aspect), nodesep: SPACE.group, ranksep: SPACE.group * 1.4 });
  graph.setDefaultEdgeLabel(() => ({}));
  // By number: the name of those outside every namespace is empty, and an empty name is none to the library.
  const number = new Map(inners.map((inner, index) => [inner.name, String(index)]));
  for (const [index, inner] of inners.entries()) graph.setNode(String(index), { width: inner.width, height: inner.height });
  for (const [from, row] of between) {
    for (const [to, weight] of row) {
      const [source, target] = [number.get(from), number.get(to)];
      if (source !== undefined && target !== undefined) graph.setEdge(source, target, { weight });
    }
  }
  dagre.layout(graph);
  return inners.map((inner, index) => {
    const at = graph.node(String(index)) as { x: number; y: number };
    return { x: at.x - inner.width / 2, y: at.y - inner.height / 2 };
  });
}

/** Rows of about the same width; callers before those they call, as far as there is an order. */
function pack(inners: Inner[], between: Map<string, Map<string, number>>, aspect: number): { x: number; y: number }[] {
  const pull = (name: string): number => {
    const sent = [...(between.get(name)?.values() ?? [])].reduce((sum, weight) => sum + weight, 0);
    const received = [...between.values()].reduce((sum, row) => sum + (row.get(name) ?? 0), 0);
    return sent + received === 0 ? 2 : received / (sent + received);
  };
  const order = inners.map((inner, index) => ({ index, inner, pull: pull(inner.name) }));
  order.sort((a, b) => a.pull - b.pull || a.inner.name.localeCompare(b.inner.name));
  const area = inners.reduce((sum, inner) => sum + (inner.width + SPACE.group) * (inner.height + SPACE.group), 0);
  const limit = Math.max(Math.sqrt(area * aspect), ...inners.map((inner) => inner.width));
  const corners: { x: number; y: number }[] = inners.map(() => ({ x: 0, y: 0 }));
  let [x, y, tallest] = [0, 0, 0];
  for (const { index, inner } of order) {
    if (x > 0 && x + inner.width > limit) [x, y, tallest] = [0, y + tallest + SPACE.group, 0];
    corners[index] = { x, y };
    x += inner.width + SPACE.group;
    tallest = Math.max(tallest, inner.height);
  }
  return corners;
}
