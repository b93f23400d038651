import { useCallback, useState } from 'react'
import * as bff from './bff'
import { EchoPanel } from './EchoPanel'
import { Identity } from './Identity'
import logo from './logo.svg'
import { MayPanel } from './MayPanel'
import { NotesPanel } from './NotesPanel'
import { SignedOut } from './SignedOut'
import { TicksPanel } from './TicksPanel'
import { TokensPanel } from './TokensPanel'
import { Failure } from './ui'
import { useAllowed } from './useAllowed'
import { asProblem, useSession, type LiveSession } from './useSession'

export function App() {
  const { state, refresh } = useSession()
  return (
    <>
      <a className="skip" href="#content">
        Skip to content
      </a>
      <header className="bar">
        <div className="bar-inner">
          <a className="brand" href="/">
            <img src={logo} alt="" width="30" height="30" />
            Keyway <span className="tag">demo</span>
          </a>
          {state.kind === 'signed-in' && <SignOut />}
        </div>
      </header>
      <main id="content" tabIndex={-1}>
        {state.kind === 'loading' && <p className="loading">Asking who you are…</p>}
        {state.kind === 'failed' && <Unreachable problem={state.problem} retry={refresh} />}
        {(state.kind === 'signed-out' || state.kind === 'ended') && <SignedOut ended={state.kind === 'ended'} />}
        {state.kind === 'signed-in' && <SignedIn session={state.session} refresh={refresh} />}
      </main>
      <footer>
        <p>
          This page comes through the gateway too, under a policy that allows no inline script and no other origin. Look
          behind it: <a href="/auth/session">the session as JSON</a>,{' '}
          <a href="/.well-known/jwks.json">the gateway’s public keys</a>, <a href="/health">its health</a>.
        </p>
      </footer>
    </>
  )
}

function SignedIn({ session, refresh }: { session: LiveSession; refresh: () => Promise<void> }) {
  const [allowed, ask] = useAllowed()
  // A stream that was cut may be a session that ended, in another tab for instance: to ask tells at once, and the browser
  // waits some seconds before it connects again. One that was refused may also be a policy that was changed.
  const onBreak = useCallback(() => {
    void refresh()
    void ask()
  }, [refresh, ask])
  return (
    <>
      <Identity session={session} onEnd={refresh} />
      <div className="columns">
        <div className="column">
          <NotesPanel mayWrite={allowed.may('create', 'note')} onForbidden={ask} />
          <MayPanel user={session.user} allowed={allowed} ask={ask} />
          <TokensPanel />
        </div>
        <div className="column">
          <TicksPanel may={allowed.may('read', 'ticks')} onCut={refresh} onBreak={onBreak} />
          <EchoPanel />
        </div>
      </div>
    </>
  )
}

function SignOut() {
  const [busy, setBusy] = useState(false)
  const [problem, setProblem] = useState<bff.Problem>()

  async function signOut() {
    if (busy) return
    setBusy(true)
    setProblem(undefined)
    try {
      await bff.signOut()
    } catch (error) {
      setProblem(asProblem(error))
      setBusy(false)
    }
  }

  return (
    <div className="sign-out">
      <div role="alert">{problem && <span className="bad-text">Not signed out: {problem.message}</span>}</div>
      <button type="button" className="quiet" data-testid="sign-out" aria-disabled={busy} onClick={signOut}>
        {busy ? 'Signing out…' : 'Sign out'}
      </button>
    </div>
  )
}

function Unreachable({ problem, retry }: { problem: bff.Problem; retry: () => Promise<void> }) {
  return (
    <section className="panel lonely" aria-labelledby="unreachable">
      <h1 id="unreachable">We can’t tell whether you are signed in</h1>
      <div role="alert">
        <Failure problem={problem} />
      </div>
      <button type="button" onClick={() => void retry()}>
        Try again
      </button>
    </section>
  )
}
