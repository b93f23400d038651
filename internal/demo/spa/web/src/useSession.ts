import { useCallback, useEffect, useState } from 'react'
import * as bff from './bff'

/** A session, with the moment of its end in this browser's own clock. */
export interface LiveSession extends bff.Session {
  endsAt: number
}

export type State =
  | { kind: 'loading' }
  | { kind: 'signed-out' }
  | { kind: 'ended' } // was signed in, and is not any more
  | { kind: 'failed'; problem: bff.Problem }
  | { kind: 'signed-in'; session: LiveSession }

/**
 * Follows the session. The page can't see the cookie, so it asks: at the start, when
 * it comes back into view, and whenever refresh is called.
 */
export function useSession(): { state: State; refresh: () => Promise<void> } {
  const [state, setState] = useState<State>({ kind: 'loading' })

  const refresh = useCallback(async () => {
    try {
      const session = await bff.session()
      setState((before) => {
        if (session) return { kind: 'signed-in', session: { ...session, endsAt: Date.now() + session.expires_in * 1000 } }
        return { kind: before.kind === 'signed-in' || before.kind === 'ended' ? 'ended' : 'signed-out' }
      })
    } catch (error) {
      // A server that is away for a moment signs nobody out.
      setState((before) => (before.kind === 'signed-in' ? before : { kind: 'failed', problem: asProblem(error) }))
    }
  }, [])

  useEffect(() => {
    const ended = () => setState({ kind: 'ended' })
    const seen = () => document.visibilityState === 'visible' && void refresh()
    // Back from the identity provider's page, the browser may show a frozen copy of this one.
    const thawed = (event: PageTransitionEvent) => event.persisted && void refresh()
    bff.events.addEventListener('ended', ended)
    document.addEventListener('visibilitychange', seen)
    addEventListener('pageshow', thawed)
    void refresh()
    return () => {
      bff.events.removeEventListener('ended', ended)
      document.removeEventListener('visibilitychange', seen)
      removeEventListener('pageshow', thawed)
    }
  }, [refresh])

  return { state, refresh }
}

export function asProblem(error: unknown): bff.Problem {
  return error instanceof bff.Problem ? error : new bff.Problem(0, 'page_error', String(error))
}
