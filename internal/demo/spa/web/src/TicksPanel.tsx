import { useEffect, useState } from 'react'
import { Panel } from './ui'

type Status = 'Stopped' | 'Connecting…' | 'Live' | 'Interrupted, reconnecting…' | 'Ended by the server'

const windowMs = 20_000

interface Props {
  may: boolean | undefined
  /** The stream was cut, and the browser will try again. */
  onCut: () => void
  /** The stream was refused. */
  onBreak: () => void
}

export function TicksPanel({ may, onCut, onBreak }: Props) {
  const [on, setOn] = useState(false)
  const [status, setStatus] = useState<Status>('Stopped')
  const [count, setCount] = useState(0)
  const [arrivals, setArrivals] = useState<number[]>([])

  useEffect(() => {
    if (!on) return
    setStatus('Connecting…')
    const source = new EventSource('/api/ticks')
    source.onopen = () => setStatus('Live')
    source.addEventListener('tick', () => {
      const now = performance.now()
      setCount((n) => n + 1)
      setArrivals((before) => [...before.filter((at) => now - at < windowMs), now])
    })
    source.onerror = () => {
      if (source.readyState === EventSource.CONNECTING) {
        setStatus('Interrupted, reconnecting…')
        onCut()
        return
      }
      // An EventSource does not say why it was refused: a session that ended, or a policy.
      setStatus('Ended by the server')
      setOn(false)
      onBreak()
    }
    return () => source.close()
  }, [on, onCut, onBreak])

  // Buttons that don't apply are aria-disabled and not disabled, so that the one
  // that was just pressed keeps the keyboard's focus.
  function start() {
    if (on) return
    setCount(0)
    setArrivals([])
    setOn(true)
  }

  function stop() {
    if (!on) return
    setOn(false)
    setStatus('Stopped')
  }

  return (
    <Panel
      id="ticks"
      title="A stream that ticks"
      intro="Server-sent events pass through the gateway one by one. Even spacing means that nothing on the way holds them back."
    >
      <div className="row">
        <button type="button" data-testid="ticks-start" aria-disabled={on} onClick={start}>
          Start
        </button>
        <button type="button" className="quiet" data-testid="ticks-stop" aria-disabled={!on} onClick={stop}>
          Stop
        </button>
        <span role="status" className={status === 'Live' ? 'live on' : 'live'}>
          {status === 'Ended by the server' && may === false ? 'Ended: the policies do not allow it' : status}
        </span>
        <span className="count">
          <strong data-testid="tick-count">{count}</strong> received
        </span>
      </div>
      <Timeline arrivals={arrivals} />
    </Panel>
  )
}

/** One mark for each event of the last 20 seconds, placed by when it arrived. */
function Timeline({ arrivals }: { arrivals: number[] }) {
  const last = arrivals.at(-1) ?? 0
  return (
    <svg className="timeline" viewBox="0 0 420 44" aria-hidden="true">
      <line x1="0" y1="22" x2="420" y2="22" />
      {arrivals.map((at) => (
        <circle key={at} cx={408 - ((last - at) / windowMs) * 408} cy="22" r={at === last ? 7 : 4} className={at === last ? 'newest' : undefined} />
      ))}
    </svg>
  )
}
