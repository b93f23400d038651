import { useCallback, useEffect, useState } from 'react'
import * as bff from './bff'
import { Check, Failure, Panel } from './ui'
import { asProblem } from './useSession'

interface Seen {
  method: string
  path: string
  query: string
  headers: Record<string, string>
}

/** What the gateway writes itself; whatever a client sends under these names never arrives. */
const fromKeyway = /^(authorization|x-correlation-id|x-user-.*|x-session-id|x-auth-time|x-original-user)$/i

export function EchoPanel() {
  const [seen, setSeen] = useState<Seen>()
  const [problem, setProblem] = useState<bff.Problem>()

  const ask = useCallback(async () => {
    try {
      const response = await bff.call('/api/echo?from=demo')
      setSeen(await response.json())
      setProblem(undefined)
    } catch (error) {
      setProblem(asProblem(error))
    }
  }, [])
  useEffect(() => void ask(), [ask])

  return (
    <Panel
      id="echo"
      title="What the API saw"
      intro="The API answers with the request as it reached it, after Keyway took the cookie off and put the token on."
    >
      <button type="button" className="quiet" data-testid="echo-again" onClick={() => void ask()}>
        Ask again
      </button>
      <div data-testid="echo">
        <div role="status">
          {problem && (
            <div className="result bad">
              <Failure problem={problem} />
            </div>
          )}
          {seen && <Facts seen={seen} />}
        </div>
        {seen && <Headers seen={seen} />}
      </div>
    </Panel>
  )
}

function Facts({ seen }: { seen: Seen }) {
  const header = (name: string) => Object.entries(seen.headers).find(([key]) => key.toLowerCase() === name)?.[1]
  const authorization = header('authorization')
  const cookie = header('cookie')
  const user = header('x-user-id')
  return (
    <ul className="checks">
      <Check ok={!/bff_session/.test(cookie ?? '')}>
        {cookie ? <>A cookie arrived: {cookie}</> : 'No cookie arrived'}
      </Check>
      <Check ok={!!authorization}>{authorization ? 'An access token arrived' : 'No access token arrived'}</Check>
      <Check ok={!!user}>{user ? <>Your identity arrived: {user}</> : 'No identity arrived'}</Check>
    </ul>
  )
}

function Headers({ seen }: { seen: Seen }) {
  const rows = Object.entries(seen.headers).sort(([a], [b]) => a.localeCompare(b))
  return (
    <table>
      <caption>
        <code>
          {seen.method} {seen.path}
          {seen.query && '?' + seen.query}
        </code>
      </caption>
      <Rows title="Set by Keyway" rows={rows.filter(([name]) => fromKeyway.test(name))} />
      <Rows title="Everything else" rows={rows.filter(([name]) => !fromKeyway.test(name))} />
    </table>
  )
}

function Rows({ title, rows }: { title: string; rows: [string, string][] }) {
  return (
    <tbody>
      <tr>
        <th scope="rowgroup" colSpan={2} className="group">
          <span className="chip">{title}</span>
        </th>
      </tr>
      {rows.map(([name, value]) => (
        <tr key={name}>
          <th scope="row">{name}</th>
          <td>{value}</td>
        </tr>
      ))}
    </tbody>
  )
}
