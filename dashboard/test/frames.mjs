/**
 * How long frames take on the map while it is dragged and zoomed, and how soon the first view is there:
 * `node test/frames.mjs URL`. Software rendering; prints one line of JSON.
 */

import { open } from './browser.mjs';

const FRAMES = 150;

/** @param {import('playwright-core').Page} page @param {'far' | 'near'} distance */
async function measure(page, distance) {
  return page.evaluate(
    async ({ frames, near }) => {
      const canvas = document.querySelector('canvas');
      if (canvas === null) throw new Error('there is no map');
      const box = canvas.getBoundingClientRect();
      const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
      const wheel = (/** @type {number} */ deltaY) =>
        canvas.dispatchEvent(new WheelEvent('wheel', { deltaY, clientX: x, clientY: y, bubbles: true, cancelable: true }));
      const pointer = (/** @type {string} */ type, /** @type {number} */ dx) =>
        canvas.dispatchEvent(new PointerEvent(type, { pointerId: 1, clientX: x + dx, clientY: y + dx / 3, bubbles: true }));
      canvas.setPointerCapture = () => {};
      if (near) for (let turn = 0; turn < 10; turn += 1) wheel(-120);
      /** @type {number[]} */
      const times = [];
      const next = () => new Promise((done) => requestAnimationFrame(done));
      await next();
      pointer('pointerdown', 0);
      let before = await next();
      for (let frame = 0; frame < frames; frame += 1) {
        pointer('pointermove', 160 * Math.sin(frame / 12));
        if (frame % 5 === 0) wheel(frame % 10 === 0 ? -20 : 20);
        const now = await next();
        times.push(now - before);
        before = now;
      }
      pointer('pointerup', 0);
      times.sort((a, b) => a - b);
      const of = (/** @type {number} */ share) => Math.round((times[Math.floor(times.length * share)] ?? 0) * 10) / 10;
      return { p50: of(0.5), p95: of(0.95), worst: of(0.999) };
    },
    { frames: FRAMES, near: distance === 'near' },
  );
}

const url = process.argv[2] ?? 'http://127.0.0.1:4173/';
const chromium = await open();
try {
  const page = await chromium.page({ width: 1280, height: 800 });
  const began = Date.now();
  await page.goto(url);
  await page.waitForSelector('canvas');
  const firstView = Date.now() - began;
  await page.waitForTimeout(2500);
  const counts = await page.locator('[data-testid="counts"]').innerText();
  const painted = await page.evaluate(() =>
    Math.round(performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0),
  );
  console.log(
    JSON.stringify({
      counts,
      firstViewMs: firstView,
      firstPaintMs: painted,
      farMs: await measure(page, 'far'),
      nearMs: await measure(page, 'near'),
    }),
  );
  await page.screenshot({ path: process.argv[3] ?? '/dev/null', type: 'png' });
} finally {
  await chromium.browser.close();
  for (const complaint of chromium.complaints) console.log(complaint);
}
