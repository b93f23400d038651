import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

export default defineConfig({
  plugins: [react()],
  build: {
    target: 'es2022',
    // The page is served under a Content-Security-Policy without inline script or
    // data: scripts, so nothing may be inlined into it.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // The notices that the licences of what is bundled ask for.
    license: { fileName: 'licenses.md' },
  },
})
