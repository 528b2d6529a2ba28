/** The map as things to draw and to point at: what the server says, at the places the layout gave. */

import type { Graph, GraphEdge, GraphNode, Health } from '../api/shapes.ts';
import { CARD } from './card.ts';
import type { Placed, Wanted } from './layout.ts';

export interface SceneNode {
  node: GraphNode;
  x: number;
  y: number;
  rate: number;
  errorRate: number;
  p99: number | null;
  versions: { version: string; share: number }[];
  endpoints: number;
  ready: number;
}

export interface SceneEdge {
  id: string;
  edge: GraphEdge;
  from: SceneNode;
  to: SceneNode;
  health: Health;
  /** A cubic curve: start, two handles, end. */
  curve: [number, number, number, number, number, number, number, number];
  width: number;
}

export interface Scene {
  nodes: SceneNode[];
  edges: SceneEdge[];
  groups: Placed['groups'];
  bundles: Bundle[];
  byId: Map<string, SceneNode>;
  width: number;
  height: number;
}

/** All edges between two namespaces, for a look from afar. */
export interface Bundle {
  x1: number;
  y1: number;
  x2: number;
  y2: number;
  rate: number;
  health: Health;
}

/** At these shares people should look (Kiali's defaults for 5xx begin at 10 %; users are hurt earlier). */
export const DEGRADED = 0.01;
export const FAILING = 0.1;

export function edgeHealth(edge: GraphEdge): Health {
  if (edge.rate === 0 && (edge.connections ?? 0) === 0) return 'idle';
  if (edge.errorRate >= FAILING) return 'failing';
  return edge.errorRate >= DEGRADED ? 'degraded' : 'ok';
}

export function edgeId(edge: GraphEdge): string {
  return `${edge.from}>${edge.to}>${edge.protocol}`;
}

export interface Choice {
  namespace: string;
  idle: boolean;
  trouble: boolean;
  /** Services that are trouble whatever their edges say. */
  marked: ReadonlySet<string>;
}

/** What of the mesh is wanted: one namespace with its neighbours, only trouble, with or without what is idle. */
export function chosen(graph: Graph, choice: Choice): Graph {
  const home = new Map(graph.nodes.map((node) => [node.id, node.namespace]));
  const near = (edge: GraphEdge): boolean =>
    choice.namespace === '' || home.get(edge.from) === choice.namespace || home.get(edge.to) === choice.namespace;
  const unwell = (health: Health): boolean => health === 'degraded' || health === 'failing';
  const edges = graph.edges.filter(
    (edge) => near(edge) && (!choice.trouble || unwell(edgeHealth(edge)) || edge.security === 'plaintext'),
  );
  const touched = new Set(edges.flatMap((edge) => [edge.from, edge.to]));
  const nodes = graph.nodes.filter((node) => {
    if (touched.has(node.id) || choice.marked.has(node.id)) return true;
    if (choice.namespace !== '' && node.namespace !== choice.namespace) return false;
    return choice.trouble ? unwell(node.health) : choice.idle || node.health !== 'idle';
  });
  return { ...graph, nodes, edges };
}

/** The same answer for the same topology, whatever the traffic. */
export function wanted(graph: Graph, aspect: number): { wanted: Wanted; key: string } {
  const nodes = graph.nodes.map((node) => ({ id: node.id, group: node.namespace })).sort((a, b) => a.id.localeCompare(b.id));
  const index = new Map(nodes.map((node, at) => [node.id, at]));
  const pairs = new Set<string>();
  for (const edge of graph.edges) {
    const [from, to] = [index.get(edge.from), index.get(edge.to)];
    if (from !== undefined && to !== undefined) pairs.add(`${from} ${to}`);
  }
  const sorted = [...pairs].sort();
  const edges = sorted.map((pair) => pair.split(' ').map(Number) as [number, number]);
  return {
    wanted: { nodes, edges, aspect },
    key: `${aspect}\n${nodes.map((node) => node.id).join('\n')}\n\n${sorted.join('\n')}`,
  };
}

export function scene(graph: Graph, asked: Wanted, placed: Placed): Scene {
  const spots = new Map(asked.nodes.map((node, index) => [node.id, placed.nodes[index]]));
  const byId = new Map<string, SceneNode>();
  for (const node of graph.nodes) {
    const spot = spots.get(node.id);
    if (spot !== undefined) byId.set(node.id, { node, ...spot, ...measured(node) });
  }
  summed(byId, graph.edges);
  const edges: SceneEdge[] = [];
  for (const edge of graph.edges) {
    const [from, to] = [byId.get(edge.from), byId.get(edge.to)];
    if (from === undefined || to === undefined) continue;
    edges.push({
      id: edgeId(edge),
      edge,
      from,
      to,
      health: edgeHealth(edge),
      curve: curve(from, to),
      width: thickness(edge.rate),
    });
  }
  return {
    nodes: [...byId.values()],
    edges,
    groups: placed.groups,
    bundles: bundles(edges, placed.groups),
    byId,
    width: placed.width,
    height: placed.height,
  };
}

function thickness(rate: number): number {
  return rate <= 0 ? 1 : Math.min(5, 1.1 + Math.log10(1 + rate) * 1.05);
}

function measured(node: GraphNode): Pick<SceneNode, 'rate' | 'errorRate' | 'p99' | 'versions' | 'endpoints' | 'ready'> {
  const rate = node.versions.reduce((sum, version) => sum + version.rate, 0);
  const errors = node.versions.reduce((sum, version) => sum + version.rate * version.errorRate, 0);
  const shares = new Map<string, number>();
  for (const version of node.versions) shares.set(version.version, (shares.get(version.version) ?? 0) + version.rate);
  const versions = [...shares].sort(([a], [b]) => a.localeCompare(b, undefined, { numeric: true }));
  return {
    rate,
    errorRate: rate === 0 ? 0 : errors / rate,
    p99: null,
    versions: versions.map(([version, part]) => ({ version, share: rate === 0 ? 0 : part / rate })),
    endpoints: node.versions.reduce((sum, version) => sum + version.endpoints, 0),
    ready: node.versions.reduce((sum, version) => sum + version.ready, 0),
  };
}

/** What callers see of a node: their rates together, the slowest p99. A denial never reaches a version, so edges count. */
function summed(byId: Map<string, SceneNode>, edges: GraphEdge[]): void {
  const seen = new Map<SceneNode, { rate: number; errors: number; p99: number | null }>();
  for (const edge of edges) {
    const node = byId.get(edge.to);
    if (node === undefined) continue;
    const sum = seen.get(node) ?? { rate: 0, errors: 0, p99: null };
    sum.rate += edge.rate;
    sum.errors += edge.rate * edge.errorRate;
    if (edge.p99 !== null) sum.p99 = Math.max(sum.p99 ?? 0, edge.p99);
    seen.set(node, sum);
  }
  for (const [node, sum] of seen) {
    node.p99 = sum.p99;
    if (sum.rate <= 0) continue;
    node.rate = sum.rate;
    node.errorRate = sum.errors / sum.rate;
  }
}

function curve(from: SceneNode, to: SceneNode): SceneEdge['curve'] {
  const mid = CARD.height / 2;
  if (from === to) {
    const [x, y] = [from.x + CARD.width, from.y + mid];
    return [x, y - 12, x + 60, y - 50, x + 60, y + 50, x, y + 12];
  }
  const [across, down] = [to.x - from.x - CARD.width, to.y - from.y - CARD.height];
  if (across >= 0 && across >= down - CARD.width) {
    const [x1, y1, x2, y2] = [from.x + CARD.width, from.y + mid, to.x, to.y + mid];
    const reach = Math.max(24, (x2 - x1) * 0.5);
    return [x1, y1, x1 + reach, y1, x2 - reach, y2, x2, y2];
  }
  // Back, or within a column: out at the side that is nearer and in at the same.
  const under = to.y >= from.y;
  const [x1, x2] = [from.x + CARD.width / 2, to.x + CARD.width / 2];
  const [y1, y2] = under ? [from.y + CARD.height, to.y] : [from.y, to.y + CARD.height];
  if (Math.abs(y2 - y1) < 12) {
    const [top1, top2] = [from.y, to.y];
    return [x1, top1, x1, top1 - 70, x2, top2 - 70, x2, top2];
  }
  const reach = (y2 - y1) * 0.5;
  return [x1, y1, x1, y1 + reach, x2, y2 - reach, x2, y2];
}

const WORST: readonly Health[] = ['idle', 'ok', 'degraded', 'failing'];

export function worse(a: Health, b: Health): Health {
  return WORST.indexOf(a) >= WORST.indexOf(b) ? a : b;
}

function bundles(edges: SceneEdge[], groups: Placed['groups']): Bundle[] {
  const middle = new Map(groups.map((box) => [box.name, { x: box.x + box.width / 2, y: box.y + box.height / 2 }]));
  const found = new Map<string, Bundle>();
  for (const { edge, from, to, health } of edges) {
    if (from.node.namespace === to.node.namespace) continue;
    const key = `${from.node.namespace}>${to.node.namespace}`;
    const known = found.get(key);
    if (known !== undefined) {
      known.rate += edge.rate;
      known.health = worse(known.health, health);
      continue;
    }
    const [a, b] = [middle.get(from.node.namespace), middle.get(to.node.namespace)];
    if (a !== undefined && b !== undefined) found.set(key, { x1: a.x, y1: a.y, x2: b.x, y2: b.y, rate: edge.rate, health });
  }
  return [...found.values()];
}

export function at(curveOf: SceneEdge['curve'], t: number): { x: number; y: number } {
  const [x0, y0, x1, y1, x2, y2, x3, y3] = curveOf;
  const u = 1 - t;
  const [a, b, c, d] = [u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t];
  return { x: a * x0 + b * x1 + c * x2 + d * x3, y: a * y0 + b * y1 + c * y2 + d * y3 };
}

export function nodeAt(scene: Scene, x: number, y: number): SceneNode | null {
  return scene.nodes.find((node) => x >= node.x && x <= node.x + CARD.width && y >= node.y && y <= node.y + CARD.height) ?? null;
}

const SAMPLES = 16;

/** The edge within `reach` of a point, the nearest. */
export function edgeAt(scene: Scene, x: number, y: number, reach: number): SceneEdge | null {
  let best: SceneEdge | null = null;
  let nearest = reach;
  for (const edge of scene.edges) {
    const [x0, y0, x1, y1, x2, y2, x3, y3] = edge.curve;
    if (x < Math.min(x0, x1, x2, x3) - reach || x > Math.max(x0, x1, x2, x3) + reach) continue;
    if (y < Math.min(y0, y1, y2, y3) - reach || y > Math.max(y0, y1, y2, y3) + reach) continue;
    let before = at(edge.curve, 0);
    for (let step = 1; step <= SAMPLES; step += 1) {
      const after = at(edge.curve, step / SAMPLES);
      const distance = toSegment(x, y, before, after);
      if (distance < nearest) [nearest, best] = [distance, edge];
      before = after;
    }
  }
  return best;
}

function toSegment(x: number, y: number, a: { x: number; y: number }, b: { x: number; y: number }): number {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const length = dx * dx + dy * dy;
  const share = length === 0 ? 0 : Math.min(1, Math.max(0, ((x - a.x) * dx + (y - a.y) * dy) / length));
  return Math.hypot(x - a.x - share * dx, y - a.y - share * dy);
}

/** Where an arrow key leads: the nearest card in that direction. */
export function neighbour(scene: Scene, from: SceneNode, dx: number, dy: number): SceneNode | null {
  let best: SceneNode | null = null;
  let least = Infinity;
  for (const node of scene.nodes) {
    if (node === from) continue;
    const along = (node.x - from.x) * dx + (node.y - from.y) * dy;
    const aside = Math.abs((node.x - from.x) * dy) + Math.abs((node.y - from.y) * dx);
    if (along <= 0 || aside > along * 2.5) continue;
    const cost = along + aside * 2;
    if (cost < least) [least, best] = [cost, node];
  }
  return best;
}
