/** Where objects of a kind live in the Kubernetes API, as its discovery says; asked once. */

import { ask, Refusal } from './client.ts';

export interface Kind {
  groupVersion: string;
  plural: string;
  namespaced: boolean;
}

interface Groups {
  groups: { versions: { groupVersion: string }[]; preferredVersion?: { groupVersion: string } }[];
}
interface Resources {
  resources: { name: string; kind: string; namespaced: boolean }[];
}

let asked: Promise<Map<string, Kind[]>> | null = null;

/** By kind; two groups may have kinds of the same name. */
function discovered(): Promise<Map<string, Kind[]>> {
  asked ??= discover().catch((fault: unknown) => {
    asked = null;
    throw fault;
  });
  return asked;
}

async function discover(): Promise<Map<string, Kind[]>> {
  const { groups } = await ask<Groups>('/apis');
  const versions = groups.flatMap((group) => {
    const preferred = group.preferredVersion?.groupVersion;
    return preferred === undefined ? group.versions.map((version) => version.groupVersion) : [preferred];
  });
  const lists = await Promise.all([
    ...versions.map(async (version) => ({ version, list: await ask<Resources>(`/apis/${version}`) })),
    ask<Resources>('/api/v1').then(
      (list) => ({ version: 'v1', list }),
      () => ({ version: 'v1', list: { resources: [] } }),
    ),
  ]);
  const found = new Map<string, Kind[]>();
  for (const { version, list } of lists) {
    for (const { name, kind, namespaced } of list.resources) {
      if (name.includes('/')) continue;
      found.set(kind, [...(found.get(kind) ?? []), { groupVersion: version, plural: name, namespaced }]);
    }
  }
  return found;
}

export function pathOf(kind: Kind, namespace: string, name: string): string {
  const root = kind.groupVersion === 'v1' ? '/api/v1' : `/apis/${kind.groupVersion}`;
  const inside = kind.namespaced ? `/namespaces/${encodeURIComponent(namespace === '' ? 'default' : namespace)}` : '';
  return `${root}${inside}/${kind.plural}/${encodeURIComponent(name)}`;
}

/** Where a document of this apiVersion and kind goes. */
export async function destination(apiVersion: string, kind: string): Promise<Kind> {
  const known = (await discovered()).get(kind) ?? [];
  const [group] = apiVersion.split('/');
  const exact = known.find((one) => one.groupVersion === apiVersion);
  // Another version of the same group is the same object.
  const found = exact ?? known.find((one) => one.groupVersion.split('/')[0] === group && apiVersion.includes('/'));
  if (found === undefined) throw new Refusal(404, `this control plane has no kind ${kind} in ${apiVersion}`);
  return { ...found, groupVersion: apiVersion };
}

/** The object, from whichever group has it. */
export async function read(
  kind: string,
  namespace: string,
  name: string,
): Promise<{ object: Record<string, unknown>; path: string }> {
  const known = (await discovered()).get(kind) ?? [];
  let last = new Refusal(404, `this control plane has no kind ${kind}`);
  for (const one of known) {
    const path = pathOf(one, namespace, name);
    try {
      return { object: await ask<Record<string, unknown>>(path), path };
    } catch (fault) {
      if (!(fault instanceof Refusal) || fault.status !== 404) throw fault;
      last = fault;
    }
  }
  throw last;
}
