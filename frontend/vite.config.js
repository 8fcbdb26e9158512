import { defineConfig } from 'vite'

// One file that a page can carry whole: no chunk, no asset, nothing that is asked for later.
export default defineConfig({
  build: {
    lib: { entry: 'src/report.ts', formats: ['iife'], name: 'nnstudent', fileName: () => 'viewer.js' },
    outDir: '../src/nnstudent/evaluation/report/viewer',
    emptyOutDir: true,
    target: 'es2022',
    sourcemap: false,
  },
})
