/** Finds by typing: every word must occur; what begins with it comes first. */

export function ranked<T>(items: readonly T[], typed: string, text: (item: T) => string): T[] {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return [...items];
  const scored: { item: T; score: number; order: number }[] = [];
  items.forEach((item, order) => {
    const name = text(item).toLowerCase();
    let score = 0;
    for (const word of words) {
      const at = name.indexOf(word);
      if (at < 0) return;
      score += at === 0 ? 0 : /[\s/._-]/.test(name.charAt(at - 1)) ? 1 : 2;
    }
    scored.push({ item, score: score * 1000 + name.length, order });
  });
  return scored.sort((a, b) => a.score - b.score || a.order - b.order).map(({ item }) => item);
}
