import { describe, expect, it } from 'vitest';
import type { Point } from '../api/shapes.ts';
import { strip } from '../map/strip.ts';
import { matrix, verdict } from '../security/matrix.ts';
import { diffLines, tally } from './diff.ts';
import { originText } from './origin.ts';
import { ranked } from './search.ts';
import { keyName, lines, total } from './series.ts';
import { moment, relative, seconds, span } from './time.ts';
import { bytes, count, milliseconds, percent, rate } from './units.ts';

describe('units', () => {
  it('are short and say what they are', () => {
    expect([0, 0.001, 0.31, 4.25, 48.04, 999.4, 999.7, 12_345, 3_400_000].map(count)).toEqual([
      '0',
      '<0.01',
      '0.31',
      '4.25',
      '48',
      '999',
      '1k',
      '12.3k',
      '3.4M',
    ]);
    expect(rate(48.6)).toBe('48.6/s');
    expect([0, 0.00004, 0.0079, 0.034, 0.5, 0.99999, 1].map(percent)).toEqual([
      '0 %',
      '<0.01 %',
      '0.79 %',
      '3.4 %',
      '50 %',
      '>99.99 %',
      '100 %',
    ]);
    expect([0, 0.5, 1, 12.34, 950, 999.9, 61_000, 200_000].map(milliseconds)).toEqual([
      '0 ms',
      '500 µs',
      '1 ms',
      '12.3 ms',
      '950 ms',
      '1 s',
      '61 s',
      '3.33 min',
    ]);
    expect([900, 1500, 2e9].map(bytes)).toEqual(['900 B', '1.5 kB', '2 GB']);
    expect([percent(null), rate(undefined), milliseconds(NaN)]).toEqual(['–', '–', '–']);
  });
});

describe('time', () => {
  it('reads what the server sends', () => {
    expect(moment(1_700_000_000)).toBe(1_700_000_000_000);
    expect(moment('1700000000')).toBe(1_700_000_000_000);
    expect(moment('2023-11-14T22:13:20Z')).toBe(1_700_000_000_000);
    expect([moment(null), moment(''), moment('soon')]).toEqual([null, null, null]);
    expect(['30s', '5m', '1h30m', 15, '250ms'].map(seconds)).toEqual([30, 300, 5400, 15, 0.25]);
    expect(seconds('soon')).toBeNull();
  });

  it('says how long ago', () => {
    expect([400, 45_000, 190_000, 4_900_000, 90_000_000, 1e9].map(span)).toEqual([
      '0 s',
      '45 s',
      '3 min',
      '1 h 21 min',
      '1 d 1 h',
      '11 d',
    ]);
    expect([relative(0, 60_000), relative(60_000, 0), relative(500, 0)]).toEqual(['1 min ago', 'in 1 min', 'now']);
  });
});

describe('diff', () => {
  const text = '--- a\n+++ b\n@@ -3,3 +3,4 @@\n same\n-old\n+new\n+--- not a header\n same';
  it('numbers both sides', () => {
    expect(diffLines(text).map(({ kind, before, after }) => [kind, before, after])).toEqual([
      ['hunk', null, null],
      ['same', 3, 3],
      ['removed', 4, null],
      ['added', null, 4],
      ['added', null, 5],
      ['same', 5, 6],
    ]);
    expect(tally(text)).toEqual({ added: 2, removed: 1 });
  });
});

describe('series', () => {
  const point = (at: number, value: number): Point => ({
    at,
    rate: value,
    errorRate: 0,
    p50: 1,
    p90: 2,
    p99: 3,
    bytesPerSecond: 0,
    inFlight: 0,
    connections: 0,
  });
  it('share one time axis and keep gaps', () => {
    const made = lines({
      step: 5,
      series: [
        { key: { version: 'v2' }, points: [point(5, 1), { at: 10, gap: true }] },
        { key: { version: 'v10' }, points: [point(10, 2)] },
      ],
    });
    expect(made.times).toEqual([5, 10]);
    expect(made.names).toEqual(['v2', 'v10']);
    expect(made.points.map((line) => line.map((one) => one?.rate ?? null))).toEqual([
      [1, null],
      [null, 2],
    ]);
  });

  it('add up to the whole', () => {
    const failing: Point = { ...(point(5, 3) as Extract<Point, { rate: number }>), errorRate: 1 };
    const made = total({
      step: 5,
      series: [
        { key: {}, points: [point(5, 1), { at: 10, gap: true }] },
        { key: {}, points: [failing, { at: 10, gap: true }] },
      ],
    });
    expect(made).toEqual([
      { at: 5, rate: 4, errorRate: 0.75 },
      { at: 10, gap: true },
    ]);
  });

  it('are named by what tells them apart', () => {
    expect(keyName({ version: 'v1' })).toBe('v1');
    expect(keyName({ namespace: 'default', workload: 'reviews-v1', version: 'v1' })).toBe('default/reviews-v1');
    expect(keyName({ namespace: 'unknown', workload: 'unknown' })).toBe('unknown');
    expect(keyName({})).toBe('all');
  });

  it('draw a strip that is open where nothing was measured', () => {
    const made = strip([point(0, 1), point(5, 2), { at: 10, gap: true }, point(15, 1)], 0, 15);
    expect(made.gaps).toHaveLength(1);
    expect(made.area.match(/M/g)).toHaveLength(2);
    expect(strip([], 0, 900)).toEqual({ area: '', errors: '', gaps: [] });
  });
});

describe('the matrix', () => {
  const flow = { from: 'a/x', to: 'a/y', security: 'mutual_tls' as const, allowedBy: null, deniedBy: null, observed: null };
  const origin = {
    object: { kind: 'AuthorizationPolicy', namespace: 'a', name: 'p' },
    generation: 3,
    path: 'spec.rules[0]',
    location: null,
  };
  it('tells what may be from what was', () => {
    expect(verdict(flow)).toBe('allowed');
    expect(verdict({ ...flow, deniedBy: origin })).toBe('denied');
    expect(verdict({ ...flow, observed: { requests: 4, refused: 0 } })).toBe('carried');
    expect(verdict({ ...flow, deniedBy: origin, observed: { requests: 4, refused: 4 } })).toBe('refused');
    expect(verdict({ ...flow, security: 'plaintext', observed: { requests: 4, refused: 0 } })).toBe('plaintext');
  });

  it('keeps what matters when it is cut', () => {
    const many = Array.from({ length: 60 }, (_, index) => ({ ...flow, from: `a/c${index}` }));
    const made = matrix([...many, { ...flow, from: 'a/zz', observed: { requests: 1, refused: 1 } }], '', 10);
    expect(made.callers).toContain('a/zz');
    expect(made.left).toBe(51);
    expect(matrix(many, 'c59', 10).callers).toEqual(['a/c59']);
  });

  it('names origins as the command line does', () => {
    expect(originText(origin)).toBe('AuthorizationPolicy a/p@3 spec.rules[0]');
    expect(originText({ ...origin, generation: 0, object: { kind: 'built-in default:', namespace: '', name: 'retries' } })).toBe(
      'built-in default: retries',
    );
  });
});

describe('search', () => {
  it('needs every word and likes beginnings', () => {
    const names = ['default/reviews', 'reviews-old', 'pay/ledger'];
    expect(ranked(names, 'rev', (name) => name)).toEqual(['reviews-old', 'default/reviews']);
    expect(ranked(names, 'def rev', (name) => name)).toEqual(['default/reviews']);
    expect(ranked(names, '', (name) => name)).toEqual(names);
  });
});
