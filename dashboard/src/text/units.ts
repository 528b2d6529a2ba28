/** Numbers as people read them, with their units. */

const NONE = '–';

/** Three significant digits, no more. */
function short(value: number): string {
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return trim(value.toFixed(1));
  if (size >= 0.095) return trim(value.toFixed(2));
  return size < 0.005 ? (value < 0 ? '>-0.01' : '<0.01') : trim(value.toFixed(2));
}

function trim(text: string): string {
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}

function scaled(value: number, base: number, names: readonly string[]): string {
  let size = Math.abs(value);
  let step = 0;
  // What would be rounded up to the base belongs to the next unit.
  while (size >= base - 0.5 && step < names.length - 1) {
    size /= base;
    step += 1;
  }
  return `${short(value / base ** step)}${names[step] ?? ''}`;
}

export function count(value: number | null | undefined): string {
  return value === null || value === undefined || !Number.isFinite(value) ? NONE : scaled(value, 1000, ['', 'k', 'M', 'G']);
}

export function rate(value: number | null | undefined): string {
  return value === null || value === undefined || !Number.isFinite(value) ? NONE : `${count(value)}/s`;
}

export function percent(share: number | null | undefined): string {
  if (share === null || share === undefined || !Number.isFinite(share)) return NONE;
  const value = share * 100;
  if (value === 0) return '0 %';
  if (value < 0.01) return '<0.01 %';
  if (value > 99.99 && value < 100) return '>99.99 %';
  if (value < 1 || (value > 99 && value < 100)) return `${trim(value.toFixed(2))} %`;
  return `${trim(value.toFixed(value < 10 ? 1 : 0))} %`;
}

export function milliseconds(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  if (value === 0) return '0 ms';
  if (value < 0.995) return `${short(value * 1000)} µs`;
  if (value < 999.5) return `${short(value)} ms`;
  return value < 119_500 ? `${short(value / 1000)} s` : `${short(value / 60_000)} min`;
}

export function bytes(value: number | null | undefined): string {
  return value === null || value === undefined || !Number.isFinite(value)
    ? NONE
    : scaled(value, 1000, [' B', ' kB', ' MB', ' GB', ' TB']);
}

export function plural(amount: number, word: string, many = `${word}s`): string {
  return `${amount === Math.trunc(amount) && Math.abs(amount) < 10_000 ? amount : count(amount)} ${amount === 1 ? word : many}`;
}
