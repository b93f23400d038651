import type { User } from './bff'
import { Failure, Panel } from './ui'
import { resources, type Allowed, type Resource } from './useAllowed'

/** What the page knows a name for. Other actions that are allowed are listed by theirs. */
const known: { action: string; resource: Resource; label: string; note?: string }[] = [
  { action: 'read', resource: 'note', label: 'Read your notes' },
  { action: 'create', resource: 'note', label: 'Write a note' },
  { action: 'survey', resource: 'note', label: 'Count everybody’s notes', note: 'for machines only' },
  { action: 'read', resource: 'ticks', label: 'Follow the stream' },
]

export function MayPanel({ user, allowed, ask }: { user: User; allowed: Allowed; ask: () => Promise<void> }) {
  const roles = user.roles ?? []
  const others = resources.flatMap((resource) =>
    (allowed.actions?.[resource] ?? [])
      .filter((action) => !known.some((one) => one.action === action && one.resource === resource))
      .map((action) => ({ action, resource, label: `${action} ${resource}`, note: undefined })),
  )
  const list = [...known, ...others].map((one) => ({ ...one, may: allowed.may(one.action, one.resource) ?? false }))
  return (
    <Panel
      id="may"
      title="Who may do what"
      intro="Signed in is not the same as allowed. Before it forwards a call, Keyway asks a policy whether you may do that, to that."
    >
      <p className="subject">
        <span>You have {roles.length === 0 ? 'no role' : roles.length === 1 ? 'the role' : 'the roles'}</span>
        {roles.map((role) => (
          <span key={role} className="chip" data-testid="role">
            {role}
          </span>
        ))}
      </p>
      {allowed.actions && (
        <ul className="decisions" data-testid="decisions" aria-label="What you may do">
          {list.map((one) => (
            <Decision key={one.resource + ' ' + one.action} {...one} />
          ))}
        </ul>
      )}
      <div className="row">
        <button type="button" className="quiet" data-testid="ask-again" onClick={() => void ask()}>
          Ask again
        </button>
        <span role="status" className="muted asked" data-testid="asked">
          {allowed.askedAt &&
            `${list.filter((one) => one.may).length} of ${list.length} allowed, at ${allowed.askedAt.toLocaleTimeString()}, in ${allowed.tookMs} ms`}
          {allowed.problem && 'Not answered'}
        </span>
      </div>
      {allowed.problem && (
        <div className="result bad">
          <Failure problem={allowed.problem} />
        </div>
      )}
      <p className="hint-line">
        Asked by <code>GET /auth/capabilities?resource=note</code>. The policies are files in a folder that the demo’s terminal
        names: change one, save, ask again.
      </p>
    </Panel>
  )
}

function Decision({ action, resource, label, note, may }: { action: string; resource: string; label: string; note?: string; may: boolean }) {
  return (
    <li className={may ? 'decision ok' : 'decision bad'} data-testid={`may-${action}-${resource}`}>
      <svg viewBox="0 0 16 16" aria-hidden="true">
        <path d={may ? 'M3 8.500l3.200 3.200L13 4.800' : 'M4 4l8 8M12 4l-8 8'} />
      </svg>
      <span className="what">
        {label}
        {note && <span className="muted">, {note}</span>}
        <code>
          {action} {resource}
        </code>
      </span>
      <span className="verdict">{may ? 'allowed' : 'refused'}</span>
    </li>
  )
}
