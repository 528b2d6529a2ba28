import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';
import { mock } from './mock/plugin.ts';

/** `TAUT_DASHBOARD=http://127.0.0.1:15080 npm run dev` develops against a real control plane; without it the mock answers. */
const real = process.env['TAUT_DASHBOARD'];
const routes = ['/taut', '/api', '/apis'];

export default defineConfig({
  plugins: [svelte(), ...(real === undefined ? [mock()] : [])],
  server: {
    host: '127.0.0.1',
    proxy:
      real === undefined
        ? {}
        : Object.fromEntries(routes.map((route) => [route, { target: real, changeOrigin: true, headers: { origin: real } }])),
  },
  preview: { host: '127.0.0.1' },
  build: { target: 'es2022', assetsInlineLimit: 0, modulePreload: { polyfill: false }, chunkSizeWarningLimit: 600 },
  worker: { format: 'es' },
  test: { include: ['src/**/*.test.ts', 'mock/**/*.test.ts'] },
});
