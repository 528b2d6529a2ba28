/** The timeline's shapes in a box of 1000 by 40: an area for requests, one in it for errors, and gaps that stay empty. */

/** A step of the strip; points of series fit. */
export type Step = { at: number } & ({ gap: true } | { gap?: false; rate: number; errorRate: number });

const WIDTH = 1000;
const HEIGHT = 40;

export interface Strip {
  area: string;
  errors: string;
  gaps: { from: number; to: number }[];
}

export function strip(points: readonly Step[], from: number, to: number): Strip {
  const x = (at: number): number => Math.round(((at - from) / Math.max(1, to - from)) * WIDTH * 10) / 10;
  const most = Math.max(1e-9, ...points.map((point) => (point.gap === true ? 0 : point.rate)));
  const y = (rate: number): number => Math.round((HEIGHT - (rate / most) * (HEIGHT - 3)) * 10) / 10;
  const runs: Exclude<Step, { gap: true }>[][] = [[]];
  const gaps: { from: number; to: number }[] = [];
  points.forEach((point, index) => {
    if (point.gap !== true) {
      runs.at(-1)?.push(point);
      return;
    }
    const open = gaps.at(-1);
    const edge = x(points[index + 1]?.at ?? point.at);
    if (points[index - 1]?.gap === true && open !== undefined) open.to = edge;
    else gaps.push({ from: x(points[index - 1]?.at ?? point.at), to: edge });
    if (runs.at(-1)?.length !== 0) runs.push([]);
  });
  const shape = (of: (point: Exclude<Step, { gap: true }>) => number): string =>
    runs
      .filter((run) => run.length > 0)
      .map((run) => {
        const line = run.map((point) => `${x(point.at)} ${y(of(point))}`).join('L');
        return `M${x(run[0]?.at ?? from)} ${HEIGHT}L${line}L${x(run.at(-1)?.at ?? from)} ${HEIGHT}Z`;
      })
      .join('');
  return { area: shape((point) => point.rate), errors: shape((point) => point.rate * point.errorRate), gaps };
}
