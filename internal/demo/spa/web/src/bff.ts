/**
 * All that a single-page app needs to know about its BFF.
 *
 * There is no token here and no OAuth library. The browser holds one HttpOnly
 * cookie and sends it by itself; the BFF takes it off and puts an access token in
 * its place on the way to the API.
 */

export interface User {
  sub: string
  name?: string
  preferred_username?: string
  email?: string
  provider?: string
  roles?: string[]
}

export interface Session {
  user: User
  /** Seconds until the session ends whatever happens, at the moment of the answer. */
  expires_in: number
  /** Seconds until it ends if nothing is done; every call starts them anew. */
  idle_expires_in?: number
}

/** A failure as the BFF and the APIs behind it tell it: problem details, RFC 9457. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly correlationId?: string,
  ) {
    super(message)
  }
}

/** Dispatches "ended" when an answer says that there is no session any more. */
export const events = new EventTarget()

/** Who is signed in; null when nobody is. */
export async function session(): Promise<Session | null> {
  const response = await send('/auth/session')
  if (response.status === 401) return null
  if (!response.ok) throw await failure(response)
  const body = await response.json()
  return body.authenticated ? body : null
}

/**
 * What the user may do with resources of a type, as the policies are now: names of actions. For what to show, and what
 * to leave out; whatever the page makes of it, each call is decided again when it is made.
 */
export async function capabilities(resource: string): Promise<string[]> {
  const response = await call('/auth/capabilities?resource=' + encodeURIComponent(resource))
  return (await response.json()).actions
}

/** Where to send the browser to sign in. A link, not a fetch: the user is to see the identity provider. */
export function signInURL(): string {
  return '/auth/login?return_to=' + encodeURIComponent(location.pathname + location.search + location.hash)
}

/** Ends the session here, then at the identity provider. */
export async function signOut(): Promise<void> {
  // The browser itself goes, not a fetch: on from there to the identity provider, with an address that
  // script never sees, because it holds a token.
  token = undefined
  location.assign('/auth/logout?csrf=' + encodeURIComponent((await csrfToken()) ?? ''))
}

/**
 * Calls an API through the BFF. What changes state carries the CSRF token; pass
 * csrf: false to leave it out and be refused. Throws a Problem unless the answer is 2xx.
 */
export async function call(path: string, init: RequestInit & { csrf?: boolean } = {}): Promise<Response> {
  const { csrf = !['GET', 'HEAD'].includes(init.method ?? 'GET'), ...request } = init
  const response = await send(path, request, csrf ? await csrfToken() : undefined)
  if (response.ok) return response
  const problem = await failure(response)
  if (!csrf || problem.code !== 'csrf_failed') throw problem
  // The token belonged to an earlier session, or its key is gone: once more with a fresh one.
  token = undefined
  const again = await send(path, request, await csrfToken())
  if (again.ok) return again
  throw await failure(again)
}

let token: string | undefined

async function csrfToken(): Promise<string | undefined> {
  if (!token) {
    const response = await send('/auth/csrf')
    if (!response.ok) throw await failure(response)
    token = (await response.json()).csrf_token
  }
  return token
}

async function send(path: string, init: RequestInit = {}, csrf?: string): Promise<Response> {
  const headers = new Headers(init.headers)
  headers.set('Accept', 'application/json')
  if (csrf) headers.set('X-CSRF-Token', csrf)
  try {
    return await fetch(path, { ...init, headers, cache: 'no-store' })
  } catch {
    throw new Problem(0, 'unreachable', "The server can't be reached. Check the connection and try again.")
  }
}

async function failure(response: Response): Promise<Problem> {
  const body = await response.json().catch(() => ({}))
  if (response.status === 401) events.dispatchEvent(new Event('ended'))
  const message = body.detail ?? body.title ?? `The server answered ${response.status}.`
  return new Problem(response.status, body.code ?? 'unknown', message, body.correlation_id)
}
