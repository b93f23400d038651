import { useCallback, useEffect, useState } from 'react'
import * as bff from './bff'
import { asProblem } from './useSession'

/** The types of resources that this page is about. */
export const resources = ['note', 'ticks'] as const

export type Resource = (typeof resources)[number]

/** What the policies said when they were last asked. */
export interface Allowed {
  /** By resource, the actions that are allowed; undefined before the first answer, and when there is none. */
  actions?: Record<Resource, string[]>
  /** Whether an action is allowed; undefined: nobody knows. */
  may(action: string, resource: Resource): boolean | undefined
  askedAt?: Date
  tookMs?: number
  problem?: bff.Problem
}

function answered(more: Omit<Allowed, 'may'>): Allowed {
  return { ...more, may: (action, resource) => more.actions?.[resource].includes(action) }
}

/** Asks what the user may do: at the start, when the page comes back into view, and when it is told to. */
export function useAllowed(): [Allowed, () => Promise<void>] {
  const [allowed, setAllowed] = useState<Allowed>(() => answered({}))

  const ask = useCallback(async () => {
    const start = performance.now()
    try {
      const lists = await Promise.all(resources.map((resource) => bff.capabilities(resource)))
      const actions = Object.fromEntries(resources.map((resource, i) => [resource, lists[i]])) as Record<Resource, string[]>
      setAllowed(answered({ actions, askedAt: new Date(), tookMs: Math.round(performance.now() - start) }))
    } catch (error) {
      setAllowed(answered({ problem: asProblem(error) }))
    }
  }, [])

  useEffect(() => {
    const seen = () => document.visibilityState === 'visible' && void ask()
    document.addEventListener('visibilitychange', seen)
    void ask()
    return () => document.removeEventListener('visibilitychange', seen)
  }, [ask])

  return [allowed, ask]
}
