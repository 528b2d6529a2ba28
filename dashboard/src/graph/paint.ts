/** Draws the map on a canvas, at three distances: cards, names, and namespaces. Draws only what is on the screen. */

import type { Health } from '../api/shapes.ts';
import type { Marks } from '../incidents/marks.ts';
import { milliseconds, percent, rate } from '../text/units.ts';
import type { Camera } from './camera.ts';
import { CARD } from './card.ts';
import { CARDS, DIM, FONT, stamp } from './stamp.ts';
import { at, type Scene, type SceneEdge, type SceneNode } from './scene.ts';

export interface Palette {
  background: string;
  surface: string;
  sunken: string;
  line: string;
  strong: string;
  text: string;
  quiet: string;
  faint: string;
  accent: string;
  edge: string;
  versions: string[];
  health: Record<Health, string>;
}

export interface Look {
  selected: string | null;
  hovered: string | null;
  /** Ids that the search found; others are dimmed. `null`: no search. */
  found: Set<string> | null;
  /** What incidents say: who is hurt, and the likely causes. */
  marks: Marks;
}

const NAMES = 0.2;
/** Letters of a card's errors and p99 that leave no room for a word between them. */
const TIGHT = 14;

/** Lines of one colour and kind go to the canvas in one stroke. */
interface Batch {
  path: Path2D;
  health: Health;
  plaintext: boolean;
  /** From one namespace to another. */
  across: boolean;
  width: number;
}

interface View {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

const ORDER: readonly Health[] = ['idle', 'ok', 'degraded', 'failing'];

class Batches {
  private readonly known = new Map<string, Batch>();

  of(health: Health, width: number, plaintext: boolean, across: boolean): Path2D {
    const rounded = Math.round(width * 2) / 2;
    const key = `${health} ${rounded} ${plaintext} ${across}`;
    const found = this.known.get(key);
    if (found !== undefined) return found.path;
    const made = { path: new Path2D(), health, plaintext, across, width: rounded };
    this.known.set(key, made);
    return made.path;
  }

  /** What needs attention lies on top. */
  inOrder(): Batch[] {
    return [...this.known.values()].sort((a, b) => ORDER.indexOf(a.health) - ORDER.indexOf(b.health));
  }
}

/** From afar the picture is the same at every place, so it is made once: lines within namespaces, bundles between, services. */
const overviews = new WeakMap<Scene, { inside: Batch[]; between: Batch[]; services: Map<Health, Path2D> }>();

function overview(scene: Scene): { inside: Batch[]; between: Batch[]; services: Map<Health, Path2D> } {
  const known = overviews.get(scene);
  if (known !== undefined) return known;
  const [inside, between, services] = [new Batches(), new Batches(), new Map<Health, Path2D>()];
  for (const { edge, health, width, curve, from, to } of scene.edges) {
    if (from.node.namespace !== to.node.namespace) continue;
    const path = inside.of(health, width, edge.security === 'plaintext', false);
    path.moveTo(curve[0], curve[1]);
    path.lineTo(curve[6], curve[7]);
  }
  for (const { x1, y1, x2, y2, rate: load, health } of scene.bundles) {
    const path = between.of(health, 0.5 + Math.log10(1 + load) * 0.55, false, true);
    path.moveTo(x1, y1);
    path.lineTo(x2, y2);
  }
  for (const { node, x, y } of scene.nodes) {
    const path = services.get(node.health) ?? new Path2D();
    services.set(node.health, path);
    path.rect(x, y, CARD.width, CARD.height);
  }
  const made = { inside: inside.inOrder(), between: between.inOrder(), services };
  overviews.set(scene, made);
  return made;
}

/** The curves that touch the view. */
function curves(scene: Scene, view: View): Batch[] {
  const batches = new Batches();
  for (const { edge, health, width, curve, from, to } of scene.edges) {
    const [x0, y0, x1, y1, x2, y2, x3, y3] = curve;
    if (Math.max(x0, x1, x2, x3) < view.left || Math.min(x0, x1, x2, x3) > view.right) continue;
    if (Math.max(y0, y1, y2, y3) < view.top || Math.min(y0, y1, y2, y3) > view.bottom) continue;
    const path = batches.of(health, width, edge.security === 'plaintext', from.node.namespace !== to.node.namespace);
    path.moveTo(x0, y0);
    path.bezierCurveTo(x1, y1, x2, y2, x3, y3);
  }
  return batches.inOrder();
}

/** With more edges than this, those between namespaces are faint unless they are in trouble. */
const CROWD = 300;

export class Painter {
  private readonly widths = new Map<string, string>();

  constructor(
    readonly context: CanvasRenderingContext2D,
    public palette: Palette,
  ) {}

  draw(scene: Scene, camera: Camera, width: number, height: number, ratio: number, look: Look): void {
    const { context } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = this.palette.background;
    context.fillRect(0, 0, width * ratio, height * ratio);
    const scale = camera.scale * ratio;
    const place = (): void => context.setTransform(scale, 0, 0, scale, -camera.x * scale, -camera.y * scale);
    place();
    const view = {
      left: camera.x,
      top: camera.y,
      right: camera.x + width / camera.scale,
      bottom: camera.y + height / camera.scale,
    };
    this.groups(scene, camera, view);
    const quiet = look.selected !== null || look.found !== null;
    const far = camera.scale < NAMES;
    if (far) this.fromAfar(scene, camera, quiet);
    else
      this.strokes(curves(scene, view), camera, quiet ? 0.22 : 0.85, camera.scale < CARDS ? 0.75 : 1, scene.edges.length > CROWD);
    this.marked(scene, camera, look);
    for (const node of scene.nodes) {
      if (far && node.node.id !== look.selected && node.node.id !== look.hovered && look.found?.has(node.node.id) !== true)
        continue;
      if (node.x > view.right || node.y > view.bottom || node.x + CARD.width < view.left || node.y + CARD.height < view.top)
        continue;
      this.card(node, camera, scene, look);
    }
    if (!far) this.labels(scene, camera, look, view);
    stamp(
      this,
      scene,
      camera,
      view,
      look.marks,
      (id) => (look.found !== null || look.selected !== null) && isDim(id, scene, look),
    );
    place();
    this.groupNames(scene, camera);
  }

  private groups(scene: Scene, camera: Camera, view: View): void {
    const { context, palette } = this;
    context.lineWidth = 1 / camera.scale;
    for (const box of scene.groups) {
      if (
        box.name === '' ||
        box.x > view.right ||
        box.y > view.bottom ||
        box.x + box.width < view.left ||
        box.y + box.height < view.top
      )
        continue;
      context.beginPath();
      context.roundRect(box.x, box.y, box.width, box.height, 14);
      context.fillStyle = palette.sunken;
      context.fill();
      context.strokeStyle = palette.line;
      context.stroke();
    }
  }

  /** The same size on the screen at every distance, so that they can be read from afar. */
  private groupNames(scene: Scene, camera: Camera): void {
    const { context, palette } = this;
    const size = Math.max(11.5 / camera.scale, 0);
    context.font = `600 ${size}px ${FONT}`;
    context.textBaseline = 'middle';
    context.textAlign = 'left';
    for (const box of scene.groups) {
      const room = box.width - 24;
      if (box.name === '' || room * camera.scale < 34) continue;
      const inside = size < 30;
      const text = this.cut(box.name, room, 600, size);
      if (inside) {
        context.fillStyle = palette.quiet;
        context.fillText(text, box.x + 16, box.y + 21);
        continue;
      }
      const across = context.measureText(text).width;
      const [x, y] = [box.x + box.width / 2 - across / 2, box.y + box.height / 2];
      context.fillStyle = palette.surface;
      context.globalAlpha = 0.86;
      context.beginPath();
      context.roundRect(x - size * 0.6, y - size, across + size * 1.2, size * 2, size * 0.5);
      context.fill();
      context.globalAlpha = 1;
      context.fillStyle = palette.text;
      context.fillText(text, x, y);
    }
  }

  private fromAfar(scene: Scene, camera: Camera, quiet: boolean): void {
    const { context, palette } = this;
    const { inside, between, services } = overview(scene);
    this.strokes(inside, camera, quiet ? 0.2 : 0.45, 0.6, false);
    this.strokes(between, camera, quiet ? 0.15 : 0.35, 1, false);
    context.globalAlpha = quiet ? 0.25 : 1;
    context.lineWidth = 0.8 / camera.scale;
    for (const [health, path] of services) {
      context.fillStyle = health === 'ok' ? palette.surface : palette.health[health];
      context.fill(path);
      context.strokeStyle = health === 'ok' ? palette.strong : palette.health[health];
      context.stroke(path);
    }
    context.globalAlpha = 1;
  }

  private strokes(all: Batch[], camera: Camera, alpha: number, factor: number, crowded: boolean): void {
    const { context } = this;
    for (const batch of all) {
      const calm = batch.health === 'ok' || batch.health === 'idle';
      context.strokeStyle = this.edgeColour(batch.health);
      context.globalAlpha = alpha * (batch.health === 'idle' ? 0.6 : 1) * (crowded && calm && batch.across ? 0.16 : 1);
      context.lineWidth = (batch.width * factor) / camera.scale ** 0.7;
      context.setLineDash(batch.plaintext ? [7 / camera.scale, 5 / camera.scale] : []);
      context.stroke(batch.path);
    }
    context.setLineDash([]);
    context.globalAlpha = 1;
  }

  private edgeColour(health: Health): string {
    return health === 'ok' || health === 'idle' ? this.palette.edge : this.palette.health[health];
  }

  /** Edges of what is selected or pointed at, over the others. */
  private marked(scene: Scene, camera: Camera, look: Look): void {
    const { context } = this;
    for (const edge of scene.edges) {
      if (!isMarked(edge, look)) continue;
      const [x0, y0, x1, y1, x2, y2, x3, y3] = edge.curve;
      context.strokeStyle =
        edge.health === 'ok' || edge.health === 'idle' ? this.palette.accent : this.palette.health[edge.health];
      context.lineWidth = (edge.width + 0.6) / camera.scale ** 0.8;
      context.setLineDash(edge.edge.security === 'plaintext' ? [7 / camera.scale, 5 / camera.scale] : []);
      context.beginPath();
      context.moveTo(x0, y0);
      context.bezierCurveTo(x1, y1, x2, y2, x3, y3);
      context.stroke();
    }
    context.setLineDash([]);
  }

  private card(scene: SceneNode, camera: Camera, all: Scene, look: Look): void {
    const { context, palette } = this;
    const { node, x, y } = scene;
    const selected = look.selected === node.id;
    context.globalAlpha = isDim(node.id, all, look) ? DIM : 1;
    const far = camera.scale < NAMES;
    context.beginPath();
    context.roundRect(x, y, CARD.width, CARD.height, node.kind === 'service' ? 9 : node.kind === 'gateway' ? 2 : 30);
    context.fillStyle = far && node.health !== 'ok' ? palette.health[node.health] : palette.surface;
    context.fill();
    context.lineWidth = (selected ? 2.4 : node.health === 'failing' || node.health === 'degraded' ? 1.6 : 1) / camera.scale;
    context.strokeStyle = selected || look.hovered === node.id ? palette.accent : this.border(node.health, far);
    if (node.kind === 'external' || node.kind === 'workload') context.setLineDash([5 / camera.scale, 4 / camera.scale]);
    context.stroke();
    context.setLineDash([]);
    if (camera.scale >= CARDS) this.near(scene);
    else if (!far) this.named(scene, camera);
    context.globalAlpha = 1;
  }

  private border(health: Health, far: boolean): string {
    if (health === 'failing' || health === 'degraded') return this.palette.health[health];
    return far ? this.palette.faint : this.palette.strong;
  }

  private near(scene: SceneNode): void {
    const { context, palette } = this;
    const { node, x, y } = scene;
    this.glyph(node.health, x + 17, y + 19, 5);
    context.textBaseline = 'alphabetic';
    context.textAlign = 'left';
    context.fillStyle = palette.text;
    context.font = `600 13px ${FONT}`;
    const kind = node.kind === 'service' ? '' : node.kind;
    context.fillText(this.cut(node.name, CARD.width - 46 - (kind === '' ? 0 : 46), 600, 13), x + 30, y + 23.5);
    context.font = `400 10.5px ${FONT}`;
    context.fillStyle = palette.quiet;
    if (kind !== '') {
      context.textAlign = 'right';
      context.fillText(kind, x + CARD.width - 14, y + 23);
      context.textAlign = 'left';
    }
    const idle = scene.rate === 0;
    context.font = `450 11px ${FONT}`;
    context.fillText(idle ? 'no requests' : rate(scene.rate), x + 13, y + 42);
    if (!idle) {
      context.fillStyle = scene.errorRate > 0 ? palette.text : palette.quiet;
      const [errors, slowest] = [percent(scene.errorRate), scene.p99 === null ? '' : `p99 ${milliseconds(scene.p99)}`];
      context.fillText(errors.length + slowest.length > TIGHT ? errors : `${errors} err`, x + 68, y + 42);
      context.fillStyle = palette.quiet;
      context.textAlign = 'right';
      context.fillText(slowest, x + CARD.width - 13, y + 42);
      context.textAlign = 'left';
    }
    this.split(scene);
  }

  /** The versions' shares of the traffic as a bar with words, because colour alone does not say. */
  private split(scene: SceneNode): void {
    const { context, palette } = this;
    const { x, y, versions } = scene;
    const room = CARD.width - 26;
    context.font = `450 10px ${FONT}`;
    const ready = scene.endpoints === 0 ? '' : `${scene.ready}/${scene.endpoints} ready`;
    if (versions.length < 2) {
      context.fillStyle = palette.faint;
      context.fillText(versions[0]?.version === 'unknown' ? '' : (versions[0]?.version ?? ''), x + 13, y + 60);
      context.textAlign = 'right';
      context.fillStyle = scene.ready < scene.endpoints ? palette.health.degraded : palette.faint;
      context.fillText(ready, x + CARD.width - 13, y + 60);
      context.textAlign = 'left';
      return;
    }
    this.bar(scene, y + 62, 3);
    versions.forEach(({ version, share }, index) => {
      context.fillStyle = palette.versions[index % palette.versions.length] ?? palette.accent;
      const slot = x + 13 + (room / Math.min(versions.length, 4)) * index;
      if (index > 3) return;
      context.fillRect(slot, y + 51, 3, 6);
      context.fillStyle = palette.quiet;
      context.fillText(
        this.cut(scene.rate === 0 ? version : `${version} ${percent(share)}`, room / Math.min(versions.length, 4) - 8, 450, 10),
        slot + 6,
        y + 57.5,
      );
    });
  }

  /** The name, and where there is room for a second line, how much and how well; sized for the screen. */
  private named(scene: SceneNode, camera: Camera): void {
    const { context, palette } = this;
    const { x, y } = scene;
    const size = Math.min(30, 10.5 / camera.scale);
    const roomy = CARD.height * camera.scale >= 26;
    const first = y + (roomy ? CARD.height * 0.31 : CARD.height / 2);
    this.glyph(scene.node.health, x + 20, first, Math.min(10, 4 / camera.scale));
    context.textBaseline = 'middle';
    context.textAlign = 'left';
    context.fillStyle = palette.text;
    const name = this.cut(scene.node.name, CARD.width - 48, 580, size);
    context.font = `580 ${size}px ${FONT}`;
    context.fillText(name, x + 38, first);
    if (!roomy) return;
    const words =
      scene.rate === 0 ? '' : scene.errorRate === 0 ? rate(scene.rate) : `${rate(scene.rate)} · ${percent(scene.errorRate)}`;
    const second = this.cut(words, CARD.width - 48, 450, size * 0.9);
    context.font = `450 ${size * 0.9}px ${FONT}`;
    context.fillStyle = palette.quiet;
    context.fillText(second, x + 38, y + CARD.height * 0.66);
    this.bar(scene, y + CARD.height - 8, 5);
  }

  /** The versions' shares as a bar. */
  private bar(scene: SceneNode, y: number, height: number): void {
    const { context, palette } = this;
    const { versions } = scene;
    if (versions.length < 2) return;
    let left = scene.x + 13;
    versions.forEach(({ share }, index) => {
      const width = (CARD.width - 26) * Math.max(share, 0);
      context.fillStyle = palette.versions[index % palette.versions.length] ?? palette.accent;
      if (width > 0.5) context.fillRect(left, y, Math.max(1, width - 1), height);
      left += width;
    });
  }

  /** Health as a shape and a colour: disc, triangle, cross, ring. */
  glyph(health: Health, x: number, y: number, size: number): void {
    const { context, palette } = this;
    context.fillStyle = palette.health[health];
    context.strokeStyle = palette.health[health];
    context.beginPath();
    if (health === 'ok') context.arc(x, y, size * 0.9, 0, Math.PI * 2);
    else if (health === 'degraded') {
      context.moveTo(x, y - size * 1.15);
      context.lineTo(x + size * 1.2, y + size * 0.95);
      context.lineTo(x - size * 1.2, y + size * 0.95);
      context.closePath();
    } else if (health === 'failing') {
      context.lineWidth = size * 0.55;
      context.moveTo(x - size, y - size);
      context.lineTo(x + size, y + size);
      context.moveTo(x + size, y - size);
      context.lineTo(x - size, y + size);
      context.stroke();
      return;
    } else {
      context.lineWidth = size * 0.35;
      context.arc(x, y, size * 0.8, 0, Math.PI * 2);
      context.stroke();
      return;
    }
    context.fill();
  }

  private labels(scene: Scene, camera: Camera, look: Look, view: View): void {
    const few = scene.edges.length <= 40 && camera.scale >= CARDS;
    for (const edge of scene.edges) {
      const marked = isMarked(edge, look);
      const open = edge.edge.security === 'plaintext' && camera.scale >= CARDS;
      if (edge.health === 'idle' || (!marked && !few && !open)) continue;
      if (!marked && (look.selected !== null || look.found !== null)) continue;
      const middle = clear(edge, scene, few);
      if (middle.x < view.left || middle.x > view.right || middle.y < view.top || middle.y > view.bottom) continue;
      this.pill(edge, middle.x, middle.y, camera, marked);
    }
    this.heads(scene, camera, look, view);
  }

  private pill(edge: SceneEdge, x: number, y: number, camera: Camera, marked: boolean): void {
    const { context, palette } = this;
    // Never smaller than can be read, never larger than at life size.
    const unit = marked ? Math.max(1, 0.85 / camera.scale) : 1;
    const words =
      edge.edge.rate > 0 ? rate(edge.edge.rate) : edge.edge.protocol === 'tcp' ? `${edge.edge.connections ?? 0} open` : 'idle';
    const text = edge.edge.errorRate > 0 ? `${words} · ${percent(edge.edge.errorRate)}` : words;
    context.font = `500 ${10.5 * unit}px ${FONT}`;
    const across = context.measureText(text).width + 26 * unit;
    // Over a short line it would hide what the line joins.
    if (Math.hypot(edge.curve[6] - edge.curve[0], edge.curve[7] - edge.curve[1]) < across * 0.8 && unit > 1) return;
    context.beginPath();
    context.roundRect(x - across / 2, y - 9 * unit, across, 18 * unit, 9 * unit);
    context.fillStyle = palette.surface;
    context.fill();
    context.lineWidth = unit;
    context.strokeStyle =
      edge.health === 'failing' || edge.health === 'degraded'
        ? palette.health[edge.health]
        : marked
          ? palette.accent
          : palette.line;
    context.stroke();
    this.lock(edge.edge.security, x - across / 2 + 11 * unit, y, unit);
    context.fillStyle = edge.health === 'failing' || edge.health === 'degraded' ? palette.text : palette.quiet;
    context.textBaseline = 'middle';
    context.textAlign = 'left';
    context.fillText(text, x - across / 2 + 19 * unit, y + 0.5 * unit);
  }

  private lock(security: string, x: number, y: number, unit: number): void {
    const { context, palette } = this;
    const open = security !== 'mutual_tls';
    context.strokeStyle = security === 'plaintext' ? palette.health.failing : open ? palette.faint : palette.health.ok;
    context.fillStyle = context.strokeStyle;
    context.lineWidth = 1.2 * unit;
    context.beginPath();
    context.roundRect(x - 3.5 * unit, y - 0.5 * unit, 7 * unit, 5 * unit, 1 * unit);
    if (open) context.stroke();
    else context.fill();
    context.beginPath();
    context.arc(x + (open ? 2.4 * unit : 0), y - 1 * unit, 2.3 * unit, Math.PI, open ? Math.PI * 1.85 : 0);
    context.stroke();
  }

  private heads(scene: Scene, camera: Camera, look: Look, view: View): void {
    if (camera.scale < 0.4) return;
    const { context } = this;
    const quiet = look.selected !== null || look.found !== null;
    for (const edge of scene.edges) {
      const [, , , , x2, y2, x3, y3] = edge.curve;
      if (x3 < view.left || x3 > view.right || y3 < view.top || y3 > view.bottom) continue;
      const marked = isMarked(edge, look);
      const angle = Math.atan2(y3 - y2, x3 - x2);
      const size = 5 + edge.width;
      context.globalAlpha = marked || !quiet ? 1 : 0.25;
      context.fillStyle =
        marked && (edge.health === 'ok' || edge.health === 'idle') ? this.palette.accent : this.edgeColour(edge.health);
      context.beginPath();
      context.moveTo(x3, y3);
      context.lineTo(x3 - size * Math.cos(angle - 0.42), y3 - size * Math.sin(angle - 0.42));
      context.lineTo(x3 - size * Math.cos(angle + 0.42), y3 - size * Math.sin(angle + 0.42));
      context.fill();
    }
    context.globalAlpha = 1;
  }

  /** Text cut to a width with an ellipsis; measured once. */
  private cut(text: string, room: number, weight: number, size: number): string {
    const key = `${weight} ${size.toFixed(1)} ${room.toFixed(0)} ${text}`;
    const known = this.widths.get(key);
    if (known !== undefined) return known;
    if (this.widths.size > 20_000) this.widths.clear();
    this.context.font = `${weight} ${size}px ${FONT}`;
    let short = text;
    while (short.length > 1 && this.context.measureText(short === text ? text : `${short}…`).width > room)
      short = short.slice(0, -1);
    const made = short === text ? text : `${short}…`;
    this.widths.set(key, made);
    return made;
  }
}

/** Where a label of an edge hides no card that the edge passes behind: the middle, or near it. */
const PLACES = [0.5, 0.35, 0.65, 0.2, 0.8, 0.12, 0.9];

function clear(edge: SceneEdge, scene: Scene, few: boolean): { x: number; y: number } {
  const middle = at(edge.curve, 0.5);
  if (!few) return middle;
  const free = ({ x, y }: { x: number; y: number }): boolean =>
    scene.nodes.every(
      (node) => x < node.x - 20 || x > node.x + CARD.width + 20 || y < node.y - 10 || y > node.y + CARD.height + 10,
    );
  return PLACES.map((place) => at(edge.curve, place)).find(free) ?? middle;
}

function isMarked(edge: SceneEdge, look: Look): boolean {
  const touches = (id: string | null): boolean => id !== null && (edge.id === id || edge.edge.from === id || edge.edge.to === id);
  return touches(look.selected) || (look.selected === null && touches(look.hovered));
}

/** With a search, all but its finds; with a selection, all but its neighbours. */
function isDim(id: string, scene: Scene, look: Look): boolean {
  if (look.found !== null) return !look.found.has(id);
  return look.selected !== null && !neighbours(scene, look.selected).has(id);
}

let remembered: { scene: Scene; selected: string; ids: Set<string> } | null = null;

function neighbours(scene: Scene, selected: string): Set<string> {
  if (remembered?.scene === scene && remembered.selected === selected) return remembered.ids;
  const ids = new Set([selected]);
  for (const { id, edge } of scene.edges) {
    if (id !== selected && edge.from !== selected && edge.to !== selected) continue;
    ids.add(edge.from);
    ids.add(edge.to);
  }
  remembered = { scene, selected, ids };
  return ids;
}
