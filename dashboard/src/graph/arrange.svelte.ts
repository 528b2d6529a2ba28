/** Asks the worker for places when the topology changed, and keeps the last places until the new ones are there. */

import type { Graph } from '../api/shapes.ts';
import type { Placed, Wanted } from './layout.ts';
import { scene, wanted, type Scene } from './scene.ts';

export class Arrangement {
  private placed = $state.raw<{ wanted: Wanted; placed: Placed; key: string } | null>(null);
  private readonly worker = new Worker(new URL('./layout.worker.ts', import.meta.url), { type: 'module' });
  private asked: { id: number; key: string; wanted: Wanted } = { id: 0, key: '', wanted: { nodes: [], edges: [], aspect: 1 } };

  constructor() {
    this.worker.onmessage = (event: MessageEvent<{ id: number; placed: Placed }>) => {
      if (event.data.id !== this.asked.id) return;
      this.placed = { wanted: this.asked.wanted, placed: event.data.placed, key: this.asked.key };
    };
  }

  get key(): string {
    return this.placed?.key ?? '';
  }

  follow(graph: Graph, aspect: number): void {
    const next = wanted(graph, aspect);
    if (next.key === this.asked.key) return;
    // Traffic that pauses takes no edge away: things stay where people have seen them.
    const calm = this.asked.wanted;
    const same =
      calm.nodes.length === next.wanted.nodes.length &&
      calm.nodes.every((node, index) => node.id === next.wanted.nodes[index]?.id);
    if (same) {
      const kept = new Set([...calm.edges, ...next.wanted.edges].map((pair) => pair.join(' ')));
      if (kept.size === calm.edges.length) return;
      next.wanted.edges = [...kept].sort().map((pair) => pair.split(' ').map(Number) as [number, number]);
    }
    this.asked = { id: this.asked.id + 1, key: next.key, wanted: next.wanted };
    this.worker.postMessage({ id: this.asked.id, wanted: next.wanted });
  }

  scene(graph: Graph): Scene | null {
    return this.placed === null ? null : scene(graph, this.placed.wanted, this.placed.placed);
  }

  end(): void {
    this.worker.terminate();
  }
}
