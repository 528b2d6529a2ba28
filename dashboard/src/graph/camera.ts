/** What part of the map is on the screen: a point of the map at the top left corner, and pixels per unit of the map. */

import type { Box } from './layout.ts';

export interface Camera {
  x: number;
  y: number;
  scale: number;
}

export const NEAREST = 2.2;
export const FARTHEST = 0.02;

export function toMap(camera: Camera, x: number, y: number): { x: number; y: number } {
  return { x: camera.x + x / camera.scale, y: camera.y + y / camera.scale };
}

/** The point of the map under (x, y) of the screen stays there. */
export function zoomed(camera: Camera, factor: number, x: number, y: number): Camera {
  const scale = Math.min(NEAREST, Math.max(FARTHEST, camera.scale * factor));
  const fixed = toMap(camera, x, y);
  return { x: fixed.x - x / scale, y: fixed.y - y / scale, scale };
}

export function panned(camera: Camera, dx: number, dy: number): Camera {
  return { ...camera, x: camera.x - dx / camera.scale, y: camera.y - dy / camera.scale };
}

/** All of the box, in the middle, and not larger than life. */
export function fitted(box: Box, width: number, height: number, margin = 32, largest = 1.15): Camera {
  const room = { width: Math.max(1, width - 2 * margin), height: Math.max(1, height - 2 * margin) };
  const scale = Math.min(
    largest,
    Math.max(FARTHEST, Math.min(room.width / Math.max(1, box.width), room.height / Math.max(1, box.height))),
  );
  return { x: box.x + box.width / 2 - width / 2 / scale, y: box.y + box.height / 2 - height / 2 / scale, scale };
}

/** Between two cameras, `share` of the way; zoom changes by factors, so that it looks even. */
export function between(from: Camera, to: Camera, share: number): Camera {
  const scale = from.scale * (to.scale / from.scale) ** share;
  // The map's centre moves on a line of the screen: interpolate corners in units of the screen.
  const weight = from.scale === to.scale ? share : (1 / from.scale - 1 / scale) / (1 / from.scale - 1 / to.scale);
  return { x: from.x + (to.x - from.x) * weight, y: from.y + (to.y - from.y) * weight, scale };
}
