/** Light or dark: as the system says, unless the user says otherwise. */

export type Theme = 'system' | 'light' | 'dark';

const KEY = 'taut-theme';
const system = window.matchMedia('(prefers-color-scheme: dark)');

function remembered(): Theme {
  try {
    const stored = window.localStorage.getItem(KEY);
    return stored === 'light' || stored === 'dark' ? stored : 'system';
  } catch {
    return 'system';
  }
}

let chosen = $state<Theme>(remembered());
let dark = $state(system.matches);
system.addEventListener('change', () => (dark = system.matches));

function show(): void {
  if (chosen === 'system') delete document.documentElement.dataset['theme'];
  else document.documentElement.dataset['theme'] = chosen;
}
show();

export const theme = {
  get chosen(): Theme {
    return chosen;
  },
  get dark(): boolean {
    return chosen === 'system' ? dark : chosen === 'dark';
  },
  choose(next: Theme): void {
    chosen = next;
    show();
    try {
      if (next === 'system') window.localStorage.removeItem(KEY);
      else window.localStorage.setItem(KEY, next);
    } catch {
      // Without storage the choice holds until the page is left.
    }
  },
  toggle(): void {
    theme.choose(theme.dark ? 'light' : 'dark');
  },
};

/** A colour token as the canvas needs it. */
export function token(name: string): string {
  const probe = document.createElement('span');
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}
