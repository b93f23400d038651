import type { ReactNode } from 'react'
import type { Problem } from './bff'

export function Panel({ id, title, intro, children }: { id: string; title: string; intro: ReactNode; children: ReactNode }) {
  return (
    <section className="panel" aria-labelledby={id}>
      <h2 id={id}>{title}</h2>
      <p className="intro">{intro}</p>
      {children}
    </section>
  )
}

/** A failure as a person would want to be told, with what support would want to know. */
export function Failure({ problem }: { problem: Problem }) {
  return (
    <>
      <p>{problem.message}</p>
      <dl className="facts">
        <dt>Code</dt>
        <dd>
          <code>{problem.code}</code>
        </dd>
        {problem.correlationId && (
          <>
            <dt>Correlation ID</dt>
            <dd>
              <code>{problem.correlationId}</code>
            </dd>
          </>
        )}
      </dl>
    </>
  )
}

/** A check mark or a cross that is also said. */
export function Check({ ok, children }: { ok: boolean; children: ReactNode }) {
  return (
    <li className={ok ? 'check ok' : 'check bad'}>
      <svg viewBox="0 0 16 16" aria-hidden="true">
        <path d={ok ? 'M3 8.500l3.200 3.200L13 4.800' : 'M4 4l8 8M12 4l-8 8'} />
      </svg>
      <span>
        <span className="sr-only">{ok ? 'Yes: ' : 'No: '}</span>
        {children}
      </span>
    </li>
  )
}
