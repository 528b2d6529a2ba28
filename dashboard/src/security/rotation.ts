/** The steps of a rotation of the root: which are over, which runs, and what it waits for. */

import type { Rotation } from '../api/shapes.ts';

export interface RotationStep {
  name: string;
  text: string;
  state: 'over' | 'now' | 'ahead';
}

const STEPS: readonly [string, string][] = [
  ['Spreading', 'both roots are believed, the old one signs; goes on when every connected sidecar has acknowledged both'],
  ['Renewing', 'the new one signs; goes on when every connected sidecar shows a certificate of it'],
  ['Retiring', 'the old root is not believed any more'],
];
const BACK: readonly [string, string][] = [
  ['Returning', 'taken back: the old one signs again; goes on when every connected sidecar shows a certificate of it'],
  ['Retiring', 'the new root is not believed any more'],
];

export function steps(rotation: Rotation): RotationStep[] {
  const back = rotation.stage === 'returning';
  const at = back ? 0 : ['spreading', 'renewing', 'retiring'].indexOf(rotation.stage);
  return (back ? BACK : STEPS).map(([name, text], index) => ({
    name,
    text,
    state: index < at ? 'over' : index === at ? 'now' : 'ahead',
  }));
}

/** As much of a fingerprint as tells two apart. */
export function short(fingerprint: string): string {
  return fingerprint.slice(0, 12);
}
