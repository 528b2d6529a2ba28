import { describe, expect, it } from 'vitest';
import { Answers } from '../../mock/answers.ts';
import { Objects, SEED } from '../../mock/objects.ts';
import { large, shop } from '../../mock/topology.ts';
import type { Graph } from '../api/shapes.ts';
import { between, fitted, toMap, zoomed } from './camera.ts';
import { CARD } from './card.ts';
import { layout } from './layout.ts';
import { chosen, edgeAt, edgeHealth, neighbour, nodeAt, scene, wanted } from './scene.ts';

const bookshop = (): Graph => new Answers(shop(), new Objects(SEED)).graph(1_700_000_000, 30);

function apart(boxes: { x: number; y: number; width: number; height: number }[]): boolean {
  return boxes.every((a, at) =>
    boxes
      .slice(at + 1)
      .every((b) => a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y),
  );
}

describe('layout', () => {
  it('keeps cards and namespaces apart, wide and narrow', () => {
    for (const aspect of [1.5, 0.6]) {
      const asked = wanted(bookshop(), aspect).wanted;
      const placed = layout(asked);
      expect(apart(placed.groups)).toBe(true);
      expect(apart(placed.nodes.map((node) => ({ ...node, ...CARD })))).toBe(true);
      expect(layout(asked)).toEqual(placed);
    }
  });

  it('places those outside every namespace, and a service that calls itself', () => {
    const nodes = ['/client', 'a/x', 'a/y'].map((id) => ({ id, group: id.split('/')[0] ?? '' }));
    const edges: [number, number][] = [
      [0, 1],
      [1, 2],
      [2, 2],
      [2, 0],
    ];
    const placed = layout({ nodes, edges, aspect: 1.5 });
    expect(apart(placed.groups)).toBe(true);
    expect(placed.nodes.every(({ x, y }) => Number.isFinite(x) && Number.isFinite(y))).toBe(true);
  });

  it('puts callers left of what they call', () => {
    const asked = wanted(bookshop(), 1.5).wanted;
    const placed = layout(asked);
    const x = (id: string): number => placed.nodes[asked.nodes.findIndex((node) => node.id === id)]?.x ?? NaN;
    expect(x('default/productpage')).toBeLessThan(x('default/reviews'));
    expect(x('default/reviews')).toBeLessThan(x('default/ratings'));
  });

  it('places a thousand services in namespaces that do not overlap', () => {
    const graph = new Answers(large(1000, 4000), new Objects('')).graph(1_700_000_000, 30);
    const placed = layout(wanted(graph, 1.5).wanted);
    expect(placed.nodes).toHaveLength(1000);
    expect(apart(placed.groups)).toBe(true);
    expect(placed.width / placed.height).toBeLessThan(4);
  }, 60_000);

  it('places a thousand services of one namespace that call each other in circles, in time', () => {
    const nodes = Array.from({ length: 999 }, (_, index) => ({ id: `shop/${index}`, group: 'shop' }));
    const edges = nodes.flatMap((_, from) => [1, 98, 195].map((step): [number, number] => [from, (from + step) % nodes.length]));
    for (const aspect of [1.5, 0.6]) {
      const placed = layout({ nodes, edges, aspect });
      expect(apart(placed.nodes.map((node) => ({ ...node, ...CARD })))).toBe(true);
      expect(layout({ nodes, edges, aspect })).toEqual(placed);
    }
  });

  it('is the same question for the same topology, whatever the traffic', () => {
    const [now, later] = [0, 900].map((at) => new Answers(shop(), new Objects(SEED)).graph(1_700_000_000 + at, 30));
    expect(wanted(now as Graph, 1.5).key).toBe(wanted(later as Graph, 1.5).key);
  });
});

describe('scene', () => {
  const graph = bookshop();
  const asked = wanted(graph, 1.5).wanted;
  const made = scene(graph, asked, layout(asked));

  it('shows the split of a canary as weights say', () => {
    const shares = made.byId.get('default/reviews')?.versions;
    expect(shares?.map(({ version, share }) => [version, Math.round(share * 100)])).toEqual([
      ['v1', 90],
      ['v2', 10],
      ['v3', 0],
    ]);
  });

  it('counts refused requests of callers as errors of the service', () => {
    const ratings = made.byId.get('default/ratings');
    expect(ratings?.errorRate).toBeGreaterThan(0.034);
    expect(ratings?.rate).toBeGreaterThan(20);
  });

  it('finds what is under the pointer', () => {
    const reviews = made.byId.get('default/reviews');
    expect(nodeAt(made, (reviews?.x ?? 0) + 5, (reviews?.y ?? 0) + 5)?.node.id).toBe('default/reviews');
    const edge = made.edges.find((one) => one.edge.to === 'default/reviews');
    expect(edgeAt(made, edge?.curve[0] ?? 0, edge?.curve[1] ?? 0, 3)).not.toBeNull();
    expect(edgeAt(made, -500, -500, 3)).toBeNull();
  });

  it('moves to a neighbour by arrow', () => {
    const page = made.byId.get('default/productpage');
    const next = page === undefined ? null : neighbour(made, page, 1, 0);
    expect(next !== null && next.x > (page?.x ?? 0)).toBe(true);
  });

  it('keeps only trouble when asked', () => {
    const kept = chosen(graph, { namespace: '', idle: true, trouble: true, marked: new Set<string>() });
    expect(kept.edges.length).toBeGreaterThan(0);
    expect(kept.edges.every((edge) => edgeHealth(edge) !== 'ok' || edge.security === 'plaintext')).toBe(true);
  });

  it('keeps a namespace with those it talks to', () => {
    const kept = chosen(graph, { namespace: 'pay', idle: true, trouble: false, marked: new Set<string>() });
    expect(kept.nodes.map((node) => node.id)).toContain('orders/checkout');
    expect(kept.nodes.map((node) => node.id)).not.toContain('default/reviews');
  });
});

describe('camera', () => {
  it('zooms around the pointer', () => {
    const before = { x: 10, y: 20, scale: 1 };
    const after = zoomed(before, 1.5, 300, 200);
    expect(toMap(after, 300, 200).x).toBeCloseTo(toMap(before, 300, 200).x);
    expect(toMap(after, 300, 200).y).toBeCloseTo(toMap(before, 300, 200).y);
  });

  it('fits everything', () => {
    const camera = fitted({ x: 0, y: 0, width: 4000, height: 1000 }, 1000, 600);
    expect(toMap(camera, 0, 0).x).toBeLessThan(0);
    expect(toMap(camera, 1000, 0).x).toBeGreaterThan(4000);
  });

  it('flies from one view to the other', () => {
    const [from, to] = [
      { x: 0, y: 0, scale: 1 },
      { x: 100, y: 50, scale: 0.5 },
    ];
    expect(between(from, to, 0)).toEqual(from);
    expect(between(from, to, 1).x).toBeCloseTo(100);
    expect(between(from, to, 1).scale).toBeCloseTo(0.5);
  });
});
