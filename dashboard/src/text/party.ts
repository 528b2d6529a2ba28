/** Whom the mesh does not know: the control plane calls callers without a proxy `unknown`, people ask what that is. */

import type { Graph } from '../api/shapes.ts';

const UNKNOWN = 'unknown';

export function isKnown(id: string): boolean {
  return id !== UNKNOWN;
}

/** A caller by what it lacks. */
export function partyName(id: string): string {
  return isKnown(id) ? id : 'no proxy';
}

/** The same graph with such callers named so. */
export function named(graph: Graph): Graph {
  if (graph.nodes.every((node) => isKnown(node.id))) return graph;
  return { ...graph, nodes: graph.nodes.map((node) => (isKnown(node.id) ? node : { ...node, name: partyName(node.id) })) };
}
