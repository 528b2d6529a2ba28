/** What incidents put on the map: where requests are hurt, and the likely causes by number. */

import type { Mark, Marks } from '../incidents/marks.ts';
import type { Camera } from './camera.ts';
import { CARD } from './card.ts';
import { at, type Scene, type SceneNode } from './scene.ts';

/** What is drawn on, and how things look there. */
interface Sheet {
  context: CanvasRenderingContext2D;
  palette: { surface: string; text: string; health: { failing: string } };
}

interface View {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

export const FONT = '"Inter Variable", system-ui, sans-serif';
/** From nearer than this a service is a card with figures. */
export const CARDS = 0.56;
/** What a search or a selection leaves aside. */
export const DIM = 0.16;

/** Over everything; discs have one size on the screen, so that they are seen from afar. */
export function stamp(sheet: Sheet, scene: Scene, camera: Camera, view: View, marks: Marks, dim: (id: string) => boolean): void {
  const unit = Math.max(1, 0.9 / camera.scale);
  for (const edge of marks.links.size === 0 ? [] : scene.edges) {
    const mark = marks.links.get(`${edge.edge.from}>${edge.edge.to}`);
    // Beside the middle, where the figures of the edge are.
    const spot = at(edge.curve, 0.22);
    if (mark !== undefined) disc(sheet, mark, spot.x, spot.y, unit);
  }
  for (const [id, mark] of marks.nodes) {
    const node = scene.byId.get(id);
    if (node === undefined) continue;
    if (node.x > view.right || node.y > view.bottom || node.x + CARD.width < view.left || node.y + CARD.height < view.top)
      continue;
    sheet.context.globalAlpha = dim(id) ? DIM : 1;
    if (mark.hurt !== null) hurt(sheet, node, camera, mark.hurt === 'users' ? 'users hurt' : 'hurt');
    disc(sheet, mark, node.x, node.y, unit);
    sheet.context.globalAlpha = 1;
  }
}

/** A second border around the card, and the word. */
function hurt({ context, palette }: Sheet, { x, y }: SceneNode, camera: Camera, word: string): void {
  const gap = Math.max(4, 3 / camera.scale);
  context.strokeStyle = palette.health.failing;
  context.lineWidth = 2.2 / camera.scale;
  context.beginPath();
  context.roundRect(x - gap, y - gap, CARD.width + 2 * gap, CARD.height + 2 * gap, 12);
  context.stroke();
  // From farther away it would cover names.
  if (camera.scale < CARDS) return;
  context.font = `600 10px ${FONT}`;
  const across = context.measureText(word).width + 10;
  const [left, top] = [x + CARD.width - across - 8, y - gap - 8];
  context.beginPath();
  context.roundRect(left, top, across, 16, 8);
  context.fillStyle = palette.health.failing;
  context.fill();
  context.fillStyle = palette.surface;
  context.textAlign = 'left';
  context.textBaseline = 'middle';
  context.fillText(word, left + 5, top + 8.5);
}

function disc({ context, palette }: Sheet, { rank }: Mark, x: number, y: number, unit: number): void {
  if (rank === null) return;
  context.beginPath();
  context.arc(x, y, 10 * unit, 0, Math.PI * 2);
  context.fillStyle = rank === 1 ? palette.text : palette.surface;
  context.fill();
  context.lineWidth = 1.8 * unit;
  context.strokeStyle = rank === 1 ? palette.surface : palette.text;
  context.stroke();
  context.fillStyle = rank === 1 ? palette.surface : palette.text;
  context.font = `700 ${12 * unit}px ${FONT}`;
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  context.fillText(String(rank), x, y + 0.6 * unit);
  context.textAlign = 'left';
}
