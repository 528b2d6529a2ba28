/** Moments and spans: relative where people scan, absolute where they point. */

/** Milliseconds since 1970 of what the server sends: unix seconds or RFC 3339. `null` when it is neither, or 0: nothing yet. */
export function moment(at: number | string | null | undefined): number | null {
  if (typeof at === 'number') return Number.isFinite(at) && at > 0 ? at * 1000 : null;
  if (typeof at !== 'string' || at === '') return null;
  const parsed = /^\d+(\.\d+)?$/.test(at) ? Number(at) * 1000 : Date.parse(at);
  return Number.isNaN(parsed) ? null : parsed;
}

const two = (value: number): string => String(value).padStart(2, '0');

export function clock(at: number): string {
  const date = new Date(at);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

export function day(at: number): string {
  const date = new Date(at);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

/** With the zone, because people in two places compare them. */
export function absolute(at: number): string {
  const offset = -new Date(at).getTimezoneOffset();
  const hours = Math.trunc(Math.abs(offset) / 60);
  return `${day(at)} ${clock(at)} ${offset === 0 ? 'UTC' : `UTC${offset < 0 ? '-' : '+'}${two(hours)}:${two(Math.abs(offset) % 60)}`}`;
}

const UNITS: readonly [number, string][] = [
  [86_400, 'd'],
  [3600, 'h'],
  [60, 'min'],
  [1, 's'],
];

/** One unit, or two next to each other where one would be coarse: `45 s`, `3 min`, `1 h 20 min`, `12 d`. */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const at = UNITS.findIndex(([size]) => seconds >= size);
  if (at < 0) return '0 s';
  const [size, name] = UNITS[at] as [number, string];
  const whole = Math.trunc(seconds / size);
  const next = UNITS[at + 1];
  if (whole >= 10 || next === undefined || size === 60) return `${whole} ${name}`;
  const rest = Math.trunc((seconds % size) / next[0]);
  return rest === 0 ? `${whole} ${name}` : `${whole} ${name} ${rest} ${next[1]}`;
}

export function relative(at: number, now: number): string {
  const distance = now - at;
  if (Math.abs(distance) < 2000) return 'now';
  return distance > 0 ? `${span(distance)} ago` : `in ${span(-distance)}`;
}

/** Go's way of writing durations, in seconds: `30s`, `5m`, `1h30m`. `null` when it is not one. */
export function seconds(text: string | number): number | null {
  if (typeof text === 'number') return text;
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text);
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|h|m|s)/g)];
  if (parts.length === 0 || parts.map((part) => part[0]).join('') !== text) return null;
  const size: Record<string, number> = { h: 3600, m: 60, s: 1, ms: 0.001 };
  return parts.reduce((sum, part) => sum + Number(part[1]) * (size[part[2] ?? 's'] ?? 0), 0);
}
