// Package spa serves the demo's page: a single-page app in React, built from
// web/ and embedded, so that the demo needs nothing but Go.
//
// The page is an example of what an integrator writes. It holds no token and
// runs no script but its own: every response carries a Content-Security-Policy
// that allows nothing inline and no other origin. What the build named by its
// content is cached for good; the page itself is asked for again each time, so a
// new build shows at the next load.
//
// To change the page, edit web/src and run npm ci && npm run build in web/; the
// result in web/dist is committed.
package spa
