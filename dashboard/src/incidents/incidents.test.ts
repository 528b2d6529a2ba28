import { describe, expect, it } from 'vitest';
import type { Cause, Evidence, Incident, MeshChange, Symptom, TimelineEntry } from '../api/shapes.ts';
import { harm } from './harm.ts';
import { marks, openAt } from './marks.ts';
import { measured, stretch } from './spans.ts';
import { parts } from './story.ts';
import { essential, guesses, rows, together } from './timeline.ts';
import { chance, concerned, happening, placeName, question, shown, signalName, signalValue } from './words.ts';

const NETWORK: Cause = {
  place: { link: ['shop/web', 'shop/cart'] },
  kind: 'network',
  share: 0.3,
  confidence: 0.2,
  evidence: [{ kind: 'gap', source: 'shop/web', destination: 'shop/cart', before: 1, now: 40 }],
};
const SLOW: Cause = {
  place: { part: ['shop/cart', { workload: 'cart-v2', version: 'v2' }] },
  kind: 'slow',
  share: 0.7,
  confidence: 0.9,
  evidence: [{ kind: 'well', node: 'shop/cart' }],
};
const symptom = (node: string, until: number | null = null): Symptom => ({
  node,
  signal: 'errorRatio',
  since: 1000,
  until,
  baseline: 0,
  worst: 0.5,
  now: 0.4,
  surprise: 12,
});

function incident(rest: Partial<Incident> = {}): Incident {
  return {
    id: 'web-3e8',
    revision: 1,
    opened: 1005,
    began: 1000,
    closed: null,
    subject: 'shop/web',
    symptoms: [symptom('shop/web'), symptom('shop/cart', 1100)],
    verdict: 'found',
    causes: [SLOW, NETWORK],
    timeline: [],
    hurt: 10,
    state: 'open',
    users: ['shop/web'],
    story: { title: '', summary: '', lines: [] },
    ...rest,
  };
}

describe('words', () => {
  it('name places and signals', () => {
    expect(
      [SLOW.place, NETWORK.place, { outside: 'outside' }, { outside: 'net/bank' }, { service: 'a/b' }].map(placeName),
    ).toEqual(['cart v2', 'web → cart', 'outside the mesh', 'bank, outside the mesh', 'b']);
    expect(placeName({ part: ['shop/cart', { workload: 'cart-abc', version: 'unknown' }] })).toBe('cart cart-abc');
    expect([signalName('latencyP99'), signalName({ objective: 'a/b' })]).toEqual(['latency p99', 'objective a/b']);
    expect([signalValue('errorRatio', 0.061), signalValue('latencyP50', 1180), signalValue({ objective: 'a/b' }, 14.4)]).toEqual([
      '6.1 %',
      '1.18 s',
      '14.4×',
    ]);
  });

  it('say how improbable something is', () => {
    expect([0, NaN, 2, 12.7, 5000].map(chance)).toEqual(['usual', 'usual', '1 in 100', '1 in 10¹²', '1 in 10⁹⁹⁹']);
  });

  it('tell what happened', () => {
    const entries: TimelineEntry[] = [
      { at: 1, event: 'symptom', node: 'shop/web', signal: 'rate' },
      { at: 1, event: 'cause', place: SLOW.place, cause: 'slow', confidence: 0.9 },
      { at: 1, event: 'change', change: { at: 1, nodes: ['shop/web'], kind: 'endpoints', before: 1, after: 3 } },
      {
        at: 1,
        event: 'change',
        change: { at: 1, nodes: [], kind: 'configuration', generation: 7, by: 'eve', objects: ['A x', 'B y'] },
      },
    ];
    expect(entries.map(happening)).toEqual([
      'web: requests out of the usual',
      'Likely cause: cart v2, slow (90 % sure)',
      'web went from 1 endpoint to 3',
      'change 7: A x and 1 more, by eve',
    ]);
  });
});

describe('how users are hurt', () => {
  it('is told by what they get now against what was usual, errors first', () => {
    const slow: Symptom = { ...symptom('shop/web'), signal: 'latencyP50', baseline: 8.9, worst: 40, now: 35.6 };
    const told = harm(incident({ symptoms: [slow, symptom('shop/web'), symptom('shop/cart')] }));
    expect(told.who).toBe('Users feel it at web');
    expect(told.felt).toEqual(['40 % of requests fail, 0 % before', 'half of the requests take 35.6 ms or more, 8.9 ms before']);
  });

  it('tells the worst of what is over', () => {
    const told = harm(incident({ closed: 1200, hurt: 1 }));
    expect(told.who).toBe('Users felt it at web');
    expect(told.felt).toEqual(['50 % of requests fail at worst, 0 % before']);
    expect(harm(incident({ symptoms: [], hurt: 1 })).felt).toEqual(['1 request failed or was too slow']);
  });

  it('goes by what the control plane says of users, and by requests where it says nothing', () => {
    const who = (rest: Partial<Incident>): string => harm(incident(rest)).who;
    expect(who({ users: [] })).toBe('No user feels it yet: web does');
    expect(who({ users: ['shop/door', 'shop/side'] })).toBe('Users feel it at door, side');
    const { users: _users, ...silent } = incident({ hurt: 0 });
    expect(harm(silent).who).toBe('It will reach web');
    expect(harm({ ...silent, hurt: 3 }).who).toBe('Users of web feel it');
  });

  it('has words for each signal', () => {
    const of = (signal: Symptom['signal']): string =>
      harm(incident({ hurt: 0, symptoms: [{ ...symptom('shop/web'), signal, now: 3, baseline: 2 }] })).felt.join();
    expect(of({ objective: 'shop/web' })).toBe('the budget of objective shop/web burns 3 times as fast as it lasts');
    expect(of('rate')).toBe('3/s come, 2/s before');
    expect(of('saturation')).toContain('3 requests wait');
    expect(of('covered')).toContain('of tries fail and are made again');
    expect(of('moonPhase' as Symptom['signal'])).toBe('moonPhase 3, 2 before');
    expect(of('latencyP99')).toContain('one request in 100');
  });
});

describe('evidence', () => {
  it('is shown with its figures side by side, bars to the largest', () => {
    const gap = shown(NETWORK.evidence[0] as Evidence);
    expect(gap.figures).toEqual([
      { name: 'before', value: '1 ms', part: 0.025, usual: true },
      { name: 'now', value: '40 ms', part: 1, usual: false },
    ]);
    const nothing = shown({ kind: 'reason', source: 'a/b', destination: 'a/c', reason: 'http_5xx', before: 0, now: 0 });
    expect(nothing.figures.map((figure) => figure.part)).toEqual([0, 0]);
    const part: Evidence = {
      kind: 'part',
      node: 'a/b',
      part: { workload: 'b-1', version: '' },
      own: 0.5,
      others: 0.1,
      unit: 'share',
    };
    expect(shown(part).figures.map(({ name, value }) => `${name} ${value}`)).toEqual(['b-1 50 %', 'its others 10 %']);
  });

  it('of a kind that this page does not know yet is named', () => {
    expect(shown({ kind: 'moon_phase' } as unknown as Evidence).about).toBe('moon phase');
  });

  it('that is a change says when it came, also when that was after', () => {
    const change: MeshChange = { at: 1, nodes: ['a/b'], kind: 'version', version: 'v2' };
    const at = (before: number): string => shown({ kind: 'change', before, change }).about;
    expect([20, 0, -61].map(at)).toEqual([
      '20 s before it began: version v2 of b began to serve',
      'In the second it began: version v2 of b began to serve',
      '1 min after it began: version v2 of b began to serve',
    ]);
  });
});

describe('a timeline', () => {
  const change = (at: number): TimelineEntry => ({
    at,
    event: 'change',
    change: { at, nodes: [], kind: 'configuration', generation: at, by: '', objects: [] },
  });
  const sign = (at: number): TimelineEntry => ({ at, event: 'symptom', node: 'a/b', signal: 'rate' });

  it('tells changes that came together in one line', () => {
    const made = rows([{ at: 9, event: 'began' }, change(4), change(2), change(3), change(1), change(12)]);
    expect(
      made.map((row) => (row.kind === 'changes' ? together(row.entries) : row.kind === 'entry' ? row.entry.event : '')),
    ).toEqual(['4 changes, 1 to 4', 'began', 'change']);
  });

  it('tells guesses between the first and the last together', () => {
    const guess = (at: number, name: string): TimelineEntry => ({
      at,
      event: 'cause',
      place: { service: `a/${name}` },
      cause: 'slow',
      confidence: 0.5,
    });
    const made = rows([guess(1, 'b'), guess(2, 'c'), guess(3, 'd'), guess(4, 'c'), guess(5, 'e'), { at: 6, event: 'closed' }]);
    const told = made.map((row) => (row.kind === 'causes' ? guesses(row.entries) : row.kind === 'entry' ? row.entry.at : ''));
    expect(told).toEqual([1, '3 more guesses between: c, d', 5, 6]);
    const few = rows([guess(1, 'b'), change(2), guess(3, 'c'), guess(4, 'd')]);
    expect(few.map((row) => row.kind)).toEqual(['entry', 'entry', 'entry', 'entry']);
  });

  it('leaves out what says least', () => {
    const all = rows([sign(1), { at: 2, event: 'opened' }, sign(3), sign(4), { at: 5, event: 'closed' }]);
    const left = essential(all, 3).map((row) => (row.kind === 'entry' ? row.entry.at : 0));
    expect(left).toEqual([1, 2, 5]);
    expect(essential(all, 1)).toHaveLength(2);
    expect(essential(all, 9)).toHaveLength(5);
  });
});

describe('a story', () => {
  const told = (lines: Incident['story']['lines']): ReturnType<typeof parts> =>
    parts(incident({ story: { title: '', summary: '', lines } }));
  const symptoms = ['web fails', 'cart fails'].map((text) => ({ text, evidence: [] }));

  it('is taken apart by what its sentences rest on', () => {
    const made = told([
      ...symptoms,
      { text: '1. cart is slow.', evidence: ['0.0', '1.0'] },
      { text: 'cart is well.', evidence: ['0.0'] },
      { text: 'Time is lost on the way.', evidence: ['1.0'] },
      { text: 'So much is lost.', evidence: ['1.0'] },
      { text: 'It is early.', evidence: [] },
      { text: 'Next: `taut changes 7` shows it, `taut rollback 7` takes it back', evidence: [] },
      { text: 'Next: `taut edges --service a` shows calls, with `--at 5` as they were.', evidence: [] },
    ]);
    expect(made.evidence.flat().map(({ id, sentence }) => `${id} ${sentence}`)).toEqual([
      '0.0 cart is well.',
      '1.0 Time is lost on the way.',
    ]);
    expect(made.causes.map((of) => of.map(({ text, evidence }) => [text, evidence.join()]))).toEqual([
      [['cart is slow.', '0.0,1.0']],
      [['So much is lost.', '1.0']],
    ]);
    expect(made.rest.map((line) => line.text)).toEqual(['It is early.']);
    expect(made.next).toEqual([
      { command: 'taut changes 7', why: 'shows it' },
      { command: 'taut rollback 7', why: 'takes it back' },
      { command: 'taut edges --service a', why: 'shows calls, with --at 5 as they were' },
    ]);
  });

  it('of a cause with one piece of evidence still tells the two apart', () => {
    const made = told([
      { text: '2. The way is bad.', evidence: ['1.0'] },
      { text: 'Time is lost on it.', evidence: ['1.0'] },
    ]);
    expect(made.causes[1]?.[0]?.text).toBe('The way is bad.');
    expect(made.evidence[1]?.[0]?.sentence).toBe('Time is lost on it.');
  });

  it('links nothing that is not there', () => {
    const made = told([
      { text: 'b', evidence: ['9.0'] },
      { text: 'c', evidence: ['0.1'] },
    ]);
    expect(made.rest.map((line) => line.text)).toEqual(['b', 'c']);
  });
});

describe('the map', () => {
  it('marks who is hurt and the first causes', () => {
    const made = marks([incident()]);
    expect(made.nodes.get('shop/web')).toEqual({ incident: 'web-3e8', hurt: 'users', rank: null });
    expect(made.nodes.get('shop/cart')).toEqual({ incident: 'web-3e8', hurt: null, rank: 1 });
    expect(made.links.get('shop/web>shop/cart')?.rank).toBe(2);
  });

  it('marks with the best rank of several incidents, and keeps who is hurt', () => {
    const other = incident({ id: 'other', causes: [NETWORK, SLOW], symptoms: [symptom('shop/cart')] });
    const made = marks([other, incident()]);
    expect(made.nodes.get('shop/cart')).toEqual({ incident: 'web-3e8', hurt: 'requests', rank: 1 });
    expect(made.links.get('shop/web>shop/cart')).toEqual({ incident: 'other', hurt: null, rank: 1 });
  });

  it('shows what was open at a moment', () => {
    const closed = incident({ id: 'closed', closed: 1200 });
    const at = (moment: number | null): string[] => openAt([incident(), closed], moment).map((one) => one.id);
    expect([at(null), at(999), at(1100), at(1200)]).toEqual([['web-3e8'], [], ['web-3e8', 'closed'], ['web-3e8']]);
    // What is over in a closed incident was hurt all the same.
    expect(marks([closed]).nodes.get('shop/cart')?.hurt).toBe('requests');
  });

  it('knows which services an incident is about', () => {
    expect([...concerned(incident())].sort()).toEqual(['shop/cart', 'shop/web']);
  });
});

describe('why', () => {
  it('is asked of the hop of a cause, and not where there is none', () => {
    expect(question(NETWORK)).toEqual({ from: 'shop/web', to: 'cart.shop' });
    expect(question(SLOW)).toBeNull();
    expect(question({ ...NETWORK, place: { link: ['outside', 'shop/web'] } })).toBeNull();
  });
});

describe('the stretch of an incident', () => {
  it('has some time before it, and does not move with every second', () => {
    const open = incident();
    expect(stretch(open, 1010)).toEqual({ at: null, window: '300s', step: '2s' });
    expect(stretch(open, 1040)).toEqual(stretch(open, 1010));
    expect(stretch(incident({ closed: 1200 }), 9000)).toEqual({ at: 1320, window: '600s', step: '5s' });
    expect(stretch(incident({ began: 0, closed: 90_000 }), 1e6)).toEqual({ at: 90_120, window: '93720s', step: '600s' });
  });

  it('is measured by what the symptom is about', () => {
    const point = { at: 1, rate: 5, errorRate: 0.1, p50: null, p90: 2, p99: 3, bytesPerSecond: 0, inFlight: 7, connections: 0 };
    expect(
      (['errorRatio', 'latencyP50', 'latencyP99', 'rate', 'saturation'] as const).map((one) => measured(one, point)),
    ).toEqual([0.1, null, 3, 5, 7]);
    expect(measured({ objective: 'a/b' }, point)).toBe(0.1);
  });
});
