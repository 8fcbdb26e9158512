import { defineConfig } from 'vite'

const everywhere = { emptyOutDir: true, target: 'es2022', sourcemap: false }

// NiiVue and the viewer: one file that a report can carry whole, with no chunk, no asset, nothing that is asked for later.
// The page of the service loads the same file when a result is looked at.
const viewer = {
  lib: { entry: 'src/report.ts', formats: ['iife'], name: 'nnstudent', fileName: () => 'viewer.js' },
  outDir: '../src/nnstudent/report/viewer',
}

const page = { outDir: '../src/nnstudent/web/page', modulePreload: false }

export default defineConfig(({ mode }) => ({
  base: './',
  build: { ...everywhere, ...(mode === 'page' ? page : viewer) },
}))
