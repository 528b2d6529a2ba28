/** A headless Chromium for the tests, and the complaints of the pages it shows. */

import { chromium } from 'playwright-core';

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--font-render-hinting=none',
];

/** The browser, and what any page complained about so far: console errors, refused styles and scripts, exceptions. */
export async function open() {
  const browser = await chromium.launch({
    executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
    headless: true,
    args: FLAGS,
  });
  /** @type {string[]} */
  const complaints = [];
  return {
    browser,
    complaints,
    /** @param {{width: number, height: number, theme?: 'light' | 'dark'}} look */
    async page({ width, height, theme = 'light' }) {
      const context = await browser.newContext({
        viewport: { width, height },
        colorScheme: theme,
        reducedMotion: 'reduce',
        hasTouch: width < 720,
        timezoneId: 'UTC',
      });
      const page = await context.newPage();
      page.setDefaultTimeout(20_000);
      page.on('pageerror', (error) => complaints.push(`${page.url()}: ${error.message}`));
      page.on('console', (message) => {
        // A refused sign-in or a conflict is an answer, not a fault of the page.
        if (message.type() === 'error' && !/status of (401|404|409)/.test(message.text()))
          complaints.push(`${page.url()}: ${message.text()}`);
      });
      return page;
    },
  };
}

/**
 * Whether anything sticks out of the page to the right.
 * @param {import('playwright-core').Page} page
 */
export async function overflow(page) {
  return page.evaluate(() => {
    const main = document.querySelector('main');
    return Math.max(
      document.documentElement.scrollWidth - window.innerWidth,
      main === null ? 0 : main.scrollWidth - main.clientWidth,
    );
  });
}

/** @param {boolean} good @param {string} what */
export function check(good, what) {
  if (!good) throw new Error(what);
}
