import { useEffect, useRef } from 'react'
import { signInURL } from './bff'

export function SignedOut({ ended }: { ended: boolean }) {
  const notice = useRef<HTMLParagraphElement>(null)
  useEffect(() => {
    // What was focused has gone with the session; go on where it is explained.
    if (ended) notice.current?.focus()
  }, [ended])

  return (
    <>
      {ended && (
        <p className="notice" ref={notice} tabIndex={-1} role="status" data-testid="session-ended">
          Your session has ended. Sign in again to go on.
        </p>
      )}
      <section className="hero" aria-labelledby="hero">
        <div>
          <p className="eyebrow">Backend for frontend</p>
          <h1 id="hero">Sign in. No token ever reaches this page.</h1>
          <p className="lead">
            A BFF is a small server next to your app that signs users in and keeps their tokens. The browser gets one
            cookie that script can’t read, and the API still gets its token.
          </p>
          <p className="call-to-action">
            <a className="button large" href={signInURL()} data-testid="sign-in">
              {ended ? 'Sign in again' : 'Sign in'}
            </a>
            <span className="hint">
              Try <kbd>ada</kbd> with the password <kbd>demo</kbd>
            </span>
          </p>
        </div>
        <ol className="path" aria-label="The way of a request">
          <li>
            <strong>This page</strong>
            <span>runs in your browser and holds nothing secret</span>
          </li>
          <li className="hop">
            <span className="chip">one HttpOnly cookie</span>
          </li>
          <li className="us">
            <strong>Keyway</strong>
            <span>knows your session and keeps its tokens, encrypted</span>
          </li>
          <li className="hop">
            <span className="chip">an access token</span>
          </li>
          <li>
            <strong>The API</strong>
            <span>checks the token, and never sees the cookie</span>
          </li>
        </ol>
      </section>
    </>
  )
}
