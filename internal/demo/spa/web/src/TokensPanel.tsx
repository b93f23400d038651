import { useEffect, useState } from 'react'
import { Check, Panel } from './ui'

/** Everything in this origin that script can read, as name and value. */
function inReach() {
  const cookies = document.cookie
    .split('; ')
    .filter(Boolean)
    .map((pair) => {
      const at = pair.indexOf('=')
      return [pair.slice(0, at), pair.slice(at + 1)] as const
    })
  return { cookies, local: Object.entries<string>(localStorage), session: Object.entries<string>(sessionStorage) }
}

/** A JWT, or something that calls itself an OAuth token. */
function looksLikeToken([name, value]: readonly [string, string]): boolean {
  return /eyJ[\w-]{8,}\.[\w-]+\./.test(value) || /(access|refresh|id)_?token/i.test(name)
}

export function TokensPanel() {
  const [found, setFound] = useState(inReach)
  useEffect(() => {
    // Not every browser tells when a cookie changes, so look again now and then.
    const clock = setInterval(() => setFound(inReach()), 1000)
    return () => clearInterval(clock)
  }, [])

  const all = [...found.cookies, ...found.local, ...found.session]
  const sessionVisible = found.cookies.some(([name]) => name.endsWith('bff_session'))
  return (
    <Panel
      id="tokens"
      title="Where are my tokens?"
      intro="In Keyway, encrypted. Below is everything that script on this page can read, and so all that an injected script could steal."
    >
      <dl className="facts storage" data-testid="in-reach">
        <Storage name="document.cookie" entries={found.cookies} />
        <Storage name="localStorage" entries={found.local} />
        <Storage name="sessionStorage" entries={found.session} />
      </dl>
      <ul className="checks">
        <Check ok={!all.some(looksLikeToken)}>
          {all.some(looksLikeToken) ? 'Something here looks like a token' : 'No token within reach of script'}
        </Check>
        <Check ok={!sessionVisible}>
          {sessionVisible ? 'Script can read the session cookie' : 'You are signed in, by a cookie that is invisible here'}
        </Check>
      </ul>
    </Panel>
  )
}

function Storage({ name, entries }: { name: string; entries: (readonly [string, string])[] }) {
  return (
    <>
      <dt>
        <code>{name}</code>
      </dt>
      <dd>
        {entries.length === 0 && <span className="muted">empty</span>}
        {entries.map(([key, value]) => (
          <span key={key} className="entry">
            <code>
              {key}={value.length > 12 ? value.slice(0, 8) + '…' : value}
            </code>
            {key.endsWith('bff_csrf') && <span className="muted"> readable on purpose: it proves only that a request is ours</span>}
          </span>
        ))}
      </dd>
    </>
  )
}
