/** Pictures of every page, light and dark, wide and narrow: `node test/shots.mjs URL DIRECTORY [page=path …]`. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { check, open, overflow } from './browser.mjs';

const SIZES = [
  { width: 1280, height: 800 },
  { width: 390, height: 844 },
];
const THEMES = /** @type {const} */ (['light', 'dark']);

/**
 * @param {Awaited<ReturnType<typeof open>>} chromium
 * @param {string} url
 * @param {string} directory
 * @param {[string, string][]} pages name and path after `#`
 * @param {import('playwright-core').Cookie[]} cookies of a session
 */
export async function shots(chromium, url, directory, pages, cookies = []) {
  mkdirSync(directory, { recursive: true });
  for (const theme of THEMES) {
    for (const size of SIZES) {
      const page = await chromium.page({ ...size, theme });
      await page.context().addCookies(cookies);
      await page.goto(url);
      await page.waitForSelector('main');
      for (const [name, path] of pages) {
        await page.goto(`${new URL(url).origin}/#${path}`);
        await page.waitForSelector('h1, canvas, h2');
        await page.waitForFunction(() => document.querySelector('[aria-busy="true"]') === null);
        await page.evaluate(() => document.fonts.ready);
        await page.waitForTimeout(name.startsWith('map') ? 700 : 350);
        await page.screenshot({ path: join(directory, `${name}-${theme}-${size.width}.png`) });
        check((await overflow(page)) <= 0, `${name} is wider than ${size.width} pixels: ${await overflow(page)} stick out`);
      }
      await page.context().close();
    }
  }
}

if (process.argv[1]?.endsWith('shots.mjs')) {
  const [, , url = 'http://127.0.0.1:4173/', directory = 'shots', ...wanted] = process.argv;
  const pages = wanted.map(
    (one) => /** @type {[string, string]} */ ([one.slice(0, one.indexOf('=')), one.slice(one.indexOf('=') + 1)]),
  );
  const chromium = await open();
  try {
    await shots(chromium, url, directory, pages);
  } finally {
    await chromium.browser.close();
    for (const complaint of chromium.complaints) console.log(complaint);
  }
}
