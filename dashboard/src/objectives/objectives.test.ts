import { describe, expect, it } from 'vitest';
import type { Forecast, Objective } from '../api/shapes.ts';
import { drawn, full, misses } from '../service/forecast.ts';
import { left, ordered, promise, windows } from './order.ts';

const objective = (name: string, alert: Objective['alert'], budgetLeft: number): Objective => ({
  namespace: 'shop',
  name,
  service: 'shop/cart',
  kind: 'availability',
  target: 0.9995,
  thresholdMs: null,
  windowDays: 30,
  budgetLeft,
  burn: [],
  alert,
  exhaustedIn: null,
  requests: 1,
  bad: 0,
});

describe('objectives', () => {
  it('come by urgency, then by what is left', () => {
    const all = [objective('calm', 'none', 0.9), objective('gone', 'none', -0.2), objective('soon', 'ticket', 0.5)];
    expect(ordered([...all, objective('now', 'page', 0.6)]).map((one) => one.name)).toEqual(['now', 'soon', 'gone', 'calm']);
  });

  it('burn over windows, the shortest first', () => {
    const burn = ['5m', '1h', '30m', '3d', '6h'].map((window) => ({ window, rate: 1 }));
    expect(windows([objective('a', 'none', 1), { ...objective('b', 'none', 1), burn }])).toEqual(['5m', '30m', '1h', '6h', '3d']);
  });

  it('say their promise with every digit', () => {
    expect(promise(objective('a', 'none', 1))).toBe('99.95 % answered well');
    expect(promise({ kind: 'latency', target: 0.99, thresholdMs: 250 })).toBe('99 % within 250 ms');
    expect([1, 0.71, 0.083, 0, -0.004, -1.2].map(left)).toEqual(['100 %', '71 %', '8.3 %', '0 %', '-0.4 %', '-120 %']);
  });
});

describe('forecasts', () => {
  const point = (at: number, rate: number): Forecast['forecast'][number] => ({
    at,
    rate,
    low80: rate - 1,
    high80: rate + 1,
    low95: rate - 2,
    high95: rate + 2,
  });
  const forecast = (history: Forecast['history'], ahead: Forecast['forecast']): Forecast => ({
    service: 'a/b',
    at: 20,
    step: 10,
    history,
    forecast: ahead,
    experts: [],
    past: [],
    coverage95: null,
    wape: null,
    ready: true,
  });

  it('begin where what came ends, and gaps stay gaps', () => {
    const made = drawn(
      forecast(
        [
          { at: 0, rate: 5 },
          { at: 10, rate: null },
          { at: 20, rate: 7 },
        ],
        [point(20, 9), point(30, 8)],
      ),
    );
    expect(made.times).toEqual([0, 10, 20, 30]);
    expect(made.came).toEqual([5, null, 7, null]);
    expect(made.expected).toEqual([null, null, 7, 8]);
    expect([made.low95, made.high80]).toEqual([
      [null, null, 7, 6],
      [null, null, 7, 9],
    ]);
  });

  it('stand alone where nothing was measured', () => {
    expect(drawn(forecast([], [point(30, 8)])).expected).toEqual([8]);
    expect(drawn(forecast([{ at: 0, rate: 5 }], [])).expected).toEqual([null]);
  });

  it('say when a service is full', () => {
    expect(full({ reachedIn: 1500, mayBeReachedIn: 60 })).toBe('in 25 min');
    expect(full({ reachedIn: 0, mayBeReachedIn: 0 })).toBe('now');
    expect(full({ reachedIn: null, mayBeReachedIn: 60 })).toBe('maybe in 1 min');
    expect(full({ reachedIn: null, mayBeReachedIn: null })).toBe('not foreseen');
  });

  it('are counted when they were wrong', () => {
    const said = { at: 1, predicted: 5, low95: 4, high95: 6 };
    expect(
      misses([
        { ...said, actual: 5 },
        { ...said, actual: 7 },
        { ...said, actual: null },
      ]),
    ).toEqual({ outside: 1, known: 2 });
  });
});
