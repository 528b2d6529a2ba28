/** Answers for the dashboard in development, in place of a control plane. `TAUT_MOCK` picks the mesh: shop, large, empty, locked or old. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Plugin } from 'vite';
import { seconds } from '../src/text/time.ts';
import { Answers, discovery } from './answers.ts';
import { Insight } from './insight.ts';
import { Objects, PLURALS, SEED } from './objects.ts';
import * as security from './security.ts';
import { large, shop, type Mesh } from './topology.ts';

const POLICY =
  "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

type Answer = { status?: number; body: unknown };

function found(body: unknown, path: string): Answer {
  return body === undefined || body === null ? { status: 404, body: { error: `there is nothing at ${path}` } } : { body };
}

class Mock {
  private readonly store: Objects;
  private readonly answers: Answers;
  /** An old control plane has none. */
  private readonly insight: Insight | null;
  private signedIn: boolean;
  private readonly mesh: Mesh;

  constructor(which: string) {
    const mesh: Mesh = which === 'large' ? large(1000, 4000) : which === 'empty' ? { services: [], edges: [] } : shop();
    this.store = new Objects(which === 'empty' ? '' : SEED);
    if (which !== 'empty') {
      this.store.apply(
        SEED.replace('weight: 90', 'weight: 80').replace('weight: 10', 'weight: 20').split('---')[0] ?? '',
        'kubectl',
      );
    }
    this.mesh = mesh;
    this.answers = new Answers(mesh, this.store);
    this.insight = which === 'old' ? null : new Insight(mesh);
    this.signedIn = which !== 'locked';
  }

  answer(method: string, url: URL, body: string): Answer {
    const path = url.pathname;
    if (path === '/taut/v1/session') return this.session(method, body);
    if (!this.signedIn) return { status: 401, body: { error: 'sign in first', methods: ['token'] } };
    const given = (name: string): string => url.searchParams.get(name) ?? '';
    const at = given('at') === '' ? null : Number(given('at'));
    switch (path) {
      case '/taut/v1/graph':
        return { body: this.answers.graph(at, seconds(given('window')) ?? 30) };
      case '/taut/v1/signals/series': {
        const [window, step] = [seconds(given('window')) ?? 900, seconds(given('step')) ?? 5];
        return { body: this.answers.series(given('by'), window, step, at, given('service').split('.').reverse().join('/')) };
      }
      case '/taut/v1/services':
        return { body: this.answers.services() };
      case '/taut/v1/security':
        return { body: this.answers.security() };
      case '/taut/v1/trust/strict': {
        const except = given('except').split(',').filter(Boolean);
        return { body: security.strict(this.mesh, given('namespace'), given('since'), except) };
      }
      case '/taut/v1/policy/suggest':
        return { body: security.suggest(this.mesh, given('namespace'), given('since'), given('service')) };
      case '/taut/v1/trust':
        return { body: security.trust(this.mesh) };
      case '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews':
        return { status: 201, body: { status: { allowed: true } } };
      case '/taut/v1/status':
        return { body: this.answers.status() };
      case '/taut/v1/changes':
        return { body: { changes: [...this.store.changes].reverse() } };
      case '/taut/v1/incidents':
        return found(this.insight?.incidents(given('state')), path);
      case '/taut/v1/objectives':
        return found(this.insight?.objectives(), path);
      case '/taut/v1/plan':
        return this.plan(body);
      case '/taut/v1/why': {
        const asked = JSON.parse(body) as { from: string; to: string; method?: string; path?: string };
        return { body: this.answers.why(asked.from, asked.to, asked.method ?? 'GET', asked.path ?? '/') };
      }
    }
    return this.deeper(method, path, url, body);
  }

  private session(method: string, body: string): Answer {
    const known = { user: 'admin', role: 'admin', methods: ['token'], version: '0.1.0' };
    if (method === 'POST') this.signedIn = (JSON.parse(body) as { token: string }).token === 'let-me-in';
    if (method === 'DELETE') this.signedIn = false;
    return this.signedIn ? { body: known } : { status: 401, body: { error: 'that token is not known here', methods: ['token'] } };
  }

  private plan(body: string): Answer {
    const problems = this.store.problems(body);
    if (problems.length > 0) return { body: { problems, changes: [], flows: [] } };
    const changes = this.store.plan(body);
    const split = (text: string | null): string =>
      [...(text ?? '').matchAll(/subset: (\S+)\n\s+weight: (\d+)/g)].map((found) => `${found[1]} ${found[2]} %`).join(', ');
    const flows = changes
      .filter((change) => change.kind === 'VirtualService' && change.verb !== 'unchanged')
      .map((change) => ({
        from: 'default/productpage',
        to: `default/${change.name}`,
        before: split(change.before) || 'every version',
        after: split(change.after) || 'every version',
      }));
    return { body: { problems, changes, flows } };
  }

  private deeper(method: string, path: string, url: URL, body: string): Answer {
    const parts = path
      .split('/')
      .filter((part) => part !== '')
      .map(decodeURIComponent);
    const missing = found(null, path);
    if (path.startsWith('/taut/v1/services/')) {
      const detail = this.answers.service(parts[3] ?? '', parts[4] ?? '');
      return detail === null ? { status: 404, body: { error: `there is no service ${parts[3]}/${parts[4]}` } } : { body: detail };
    }
    if (path.startsWith('/taut/v1/incidents/')) return found(this.insight?.incident(parts[3] ?? ''), path);
    if (path.startsWith('/taut/v1/forecast/')) return found(this.insight?.forecast(parts[3] ?? '', parts[4] ?? ''), path);
    if (path.startsWith('/taut/v1/why/')) return { body: this.answers.happened(parts[3] ?? '') };
    if (path.startsWith('/taut/v1/changes/')) {
      const generation = Number(parts[3]);
      const change = this.store.changes.find((one) => one.generation === generation);
      if (change === undefined) return missing;
      if (method !== 'POST') return { body: change };
      const later = this.store.changes.filter(
        (one) =>
          one.generation > generation && one.objects.some((object) => change.objects.some((own) => own.name === object.name)),
      );
      if (later.length > 0 && url.searchParams.get('force') !== 'true') {
        return {
          status: 409,
          body: {
            error: 'later changes touch the same objects',
            conflicts: later.map(({ generation: of, objects }) => ({ generation: of, objects })),
          },
        };
      }
      return { body: { generation: this.store.rollback(generation) } };
    }
    return parts[0] === 'apis' ? this.api(method, parts, body) : missing;
  }

  private api(method: string, parts: string[], body: string): Answer {
    const versions = [...new Set(Object.values(PLURALS).map(([version]) => version))];
    if (parts.length === 1) {
      const groups = versions.map((version) => ({
        name: version.split('/')[0],
        preferredVersion: { groupVersion: version },
        versions: [{ groupVersion: version }],
      }));
      return { body: { kind: 'APIGroupList', groups } };
    }
    if (parts.length === 3) return { body: discovery(`${parts[1]}/${parts[2]}`) };
    const kind = Object.entries(PLURALS).find(([, [, plural]]) => plural === parts[5])?.[0] ?? '';
    const [namespace, name] = [parts[4] ?? '', parts[6] ?? ''];
    if (method === 'PATCH' || method === 'PUT') this.store.apply(body, 'dashboard');
    if (method === 'DELETE') this.store.remove(kind, namespace, name);
    const object = this.store.get(kind, namespace, name);
    if (method === 'DELETE') return { body: { status: 'Success' } };
    return object === undefined
      ? { status: 404, body: { message: `${kind} ${namespace}/${name} does not exist` } }
      : { body: object };
  }
}

export function mock(): Plugin {
  const served = new Mock(process.env['TAUT_MOCK'] ?? 'shop');
  const serve = (request: IncomingMessage, response: ServerResponse, next: () => void): void => {
    const url = new URL(request.url ?? '/', 'http://mock');
    if (!/^\/(taut|apis?)(\/|$)/.test(url.pathname)) {
      next();
      return;
    }
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      let answer: Answer;
      try {
        answer = served.answer(request.method ?? 'GET', url, body);
      } catch (fault) {
        answer = { status: 400, body: { error: String(fault) } };
      }
      response.writeHead(answer.status ?? 200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(answer.body));
    });
  };
  return {
    name: 'taut-mock',
    configureServer: (server) => void server.middlewares.use(serve),
    configurePreviewServer: (server) => {
      server.middlewares.use((_request, response, next) => {
        response.setHeader('content-security-policy', POLICY);
        next();
      });
      server.middlewares.use(serve);
    },
  };
}
