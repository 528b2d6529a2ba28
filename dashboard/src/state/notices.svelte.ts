/** Short words about what has just been done. */

export interface Notice {
  id: number;
  tone: 'good' | 'bad';
  text: string;
}

let said = $state<Notice[]>([]);
let last = 0;

export const notices = {
  get all(): Notice[] {
    return said;
  },
  say(tone: Notice['tone'], text: string): void {
    last += 1;
    const id = last;
    said = [...said.slice(-2), { id, tone, text }];
    setTimeout(() => notices.drop(id), tone === 'good' ? 5000 : 12_000);
  },
  drop(id: number): void {
    said = said.filter((one) => one.id !== id);
  },
};
