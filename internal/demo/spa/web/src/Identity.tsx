import { useEffect, useState } from 'react'
import type { User } from './bff'
import type { LiveSession } from './useSession'

export function Identity({ session, onEnd }: { session: LiveSession; onEnd: () => void }) {
  const { user } = session
  const name = displayName(user)
  return (
    <section className="identity" aria-labelledby="who">
      <span className="avatar" aria-hidden="true">
        {initials(name)}
      </span>
      <div className="who">
        <p className="eyebrow">Signed in as</p>
        <h1 id="who" data-testid="user-name">
          {name}
        </h1>
        <p className="details">
          {user.email && <span>{user.email}</span>}
          {user.provider && <span className="chip">via {user.provider}</span>}
        </p>
      </div>
      <Countdown endsAt={session.endsAt} idle={(session.idle_expires_in ?? Infinity) < session.expires_in} onEnd={onEnd} />
    </section>
  )
}

function Countdown({ endsAt, idle, onEnd }: { endsAt: number; idle: boolean; onEnd: () => void }) {
  const [now, setNow] = useState(Date.now)
  useEffect(() => {
    const clock = setInterval(() => setNow(Date.now()), 1000)
    return () => clearInterval(clock)
  }, [])

  const left = Math.max(0, Math.round((endsAt - now) / 1000))
  const over = left === 0
  useEffect(() => {
    if (!over) return
    // Clocks differ by a little, so ask until the server thinks so too.
    const asking = setInterval(onEnd, 2000)
    return () => clearInterval(asking)
  }, [over, onEnd])

  return (
    <div className={left < 60 ? 'countdown soon' : 'countdown'}>
      <p className="eyebrow" id="ends">
        Session ends in
      </p>
      <p className="clock" role="timer" aria-labelledby="ends" data-testid="session-ends">
        {duration(left)}
      </p>
      <p className="at">
        at {new Date(endsAt).toLocaleTimeString([], { hour: 'numeric', minute: '2-digit' })}
        {idle && ', sooner if unused'}
      </p>
    </div>
  )
}

function duration(seconds: number): string {
  const two = (n: number) => String(Math.floor(n)).padStart(2, '0')
  const minutes = two((seconds % 3600) / 60) + ':' + two(seconds % 60)
  return seconds < 3600 ? minutes : Math.floor(seconds / 3600) + ':' + minutes
}

function displayName(user: User): string {
  return user.name || user.preferred_username || user.email || user.sub
}

function initials(name: string): string {
  const words = name.split(/[\s@._-]+/).filter(Boolean)
  const ends = words.length > 1 ? [words[0]!, words.at(-1)!] : words
  return ends.map((word) => [...word][0]!.toUpperCase()).join('')
}
