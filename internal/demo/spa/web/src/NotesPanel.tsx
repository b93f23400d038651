import { useState, type FormEvent } from 'react'
import * as bff from './bff'
import { Failure, Panel } from './ui'
import { asProblem } from './useSession'

interface Note {
  id: string
  text: string
  created_at: string
}

interface Outcome {
  what: string
  status: number
  message?: string
  problem?: bff.Problem
  tookMs: number
  asExpected: boolean
}

/** What is posted when the form is empty or may not be used. */
const placeholders = { csrf: 'A note without a CSRF token', forbidden: 'A note against the policies' }

/**
 * mayWrite is what the policies said when the page asked; undefined: nobody knows. onForbidden is told when the gateway
 * says otherwise.
 */
export function NotesPanel({ mayWrite, onForbidden }: { mayWrite: boolean | undefined; onForbidden: () => Promise<void> }) {
  const [notes, setNotes] = useState<Note[]>()
  const [text, setText] = useState('')
  const [outcome, setOutcome] = useState<Outcome>()
  const [busy, setBusy] = useState(false)

  const readOnly = mayWrite === false

  /** Makes one call and shows how it went; refusal is the code of the one that is expected, and what to say of it. */
  async function run(
    what: string,
    init: Parameters<typeof bff.call>[1],
    then: (answer: Response) => Promise<string>,
    refusal?: { code: string; message: string },
  ) {
    if (busy) return
    setBusy(true)
    const start = performance.now()
    try {
      const response = await bff.call('/api/notes', init)
      const tookMs = Math.round(performance.now() - start)
      const message = await then(response)
      setOutcome({ what, status: response.status, message, tookMs, asExpected: !refusal })
    } catch (error) {
      const problem = asProblem(error)
      const tookMs = Math.round(performance.now() - start)
      const asExpected = problem.code === refusal?.code
      const message = asExpected ? refusal?.message : undefined
      setOutcome({ what, status: problem.status, message, problem, tookMs, asExpected })
      if (problem.code === 'forbidden') void onForbidden()
    } finally {
      setBusy(false)
    }
  }

  const get = () =>
    run('GET /api/notes', {}, async (response) => {
      const list: Note[] = await response.json()
      setNotes(list)
      return list.length === 1 ? 'You have one note.' : `You have ${list.length || 'no'} notes.`
    })

  const post = (what: string, csrf: boolean, body: string, refusal?: { code: string; message: string }) => {
    const init = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ text: body }), csrf }
    return run(
      what,
      init,
      async (response) => {
        const note: Note = await response.json()
        setNotes((before) => [...(before ?? []), note])
        if (refusal) return 'This should have been refused!'
        setText('')
        return 'The note is kept, for you alone.'
      },
      refusal,
    )
  }

  const postWithoutCSRF = () =>
    post('POST /api/notes, no CSRF token', false, text || placeholders.csrf, {
      code: 'csrf_failed',
      message: 'Refused, as it should be: without the token this could have come from any other site.',
    })

  const postAnyway = () =>
    post('POST /api/notes, against the policies', true, placeholders.forbidden, {
      code: 'forbidden',
      message: 'Refused, as it should be: the form is closed as a courtesy; who decides is Keyway, and the API never heard of it.',
    })

  function submit(event: FormEvent) {
    event.preventDefault()
    if (!readOnly) void post('POST /api/notes', true, text)
  }

  return (
    <Panel
      id="notes"
      title="Call the API"
      intro="The browser sends its cookie; the API gets an access token. A write also needs a CSRF token, which only this site can read."
    >
      <form onSubmit={submit} aria-busy={busy}>
        {readOnly && (
          <p id="may-not-write" className="closed" data-testid="may-not-write">
            You may not write notes: so the policies say.
          </p>
        )}
        <label htmlFor="note-text">A note</label>
        <div className="row">
          <input
            id="note-text"
            data-testid="note-text"
            value={text}
            onChange={(event) => setText(event.target.value)}
            maxLength={280}
            required
            autoComplete="off"
            placeholder={readOnly ? '' : 'Buy milk'}
            readOnly={readOnly}
            aria-disabled={readOnly}
            aria-describedby={readOnly ? 'may-not-write' : undefined}
          />
          <button
            type="submit"
            data-testid="post-note"
            aria-disabled={busy || readOnly}
            aria-describedby={readOnly ? 'may-not-write' : undefined}
          >
            Post note
          </button>
        </div>
        <div className="row">
          <button type="button" className="quiet" data-testid="get-notes" aria-disabled={busy} onClick={() => void get()}>
            Get notes
          </button>
          {readOnly && (
            <button type="button" className="quiet" data-testid="try-anyway" aria-disabled={busy} onClick={() => void postAnyway()}>
              Post anyway
            </button>
          )}
          <button
            type="button"
            className="quiet"
            data-testid="post-without-csrf"
            aria-disabled={busy}
            onClick={() => void postWithoutCSRF()}
          >
            Post without the CSRF token
          </button>
        </div>
      </form>
      <div role="status" data-testid="result">
        {outcome && <Result outcome={outcome} />}
      </div>
      {notes && <NoteList notes={notes} />}
    </Panel>
  )
}

function Result({ outcome }: { outcome: Outcome }) {
  const { what, status, message, problem, tookMs, asExpected } = outcome
  return (
    <div className={asExpected ? 'result ok' : 'result bad'}>
      <p className="line">
        <strong className="status">{status || 'No answer'}</strong>
        <code>{what}</code>
        <span className="muted">{tookMs} ms</span>
      </p>
      {message && <p>{message}</p>}
      {problem && <Failure problem={problem} />}
    </div>
  )
}

/** How many notes are listed, newest first. */
const shown = 5

function NoteList({ notes }: { notes: Note[] }) {
  return (
    <>
      <h3>Your notes</h3>
      {notes.length === 0 && <p className="muted">None yet.</p>}
      <ul className="notes" data-testid="notes-list">
        {notes.slice(-shown).toReversed().map((note) => (
          <li key={note.id}>
            <span>{note.text}</span>
            <time dateTime={note.created_at} className="muted">
              {new Date(note.created_at).toLocaleTimeString([], { hour: 'numeric', minute: '2-digit' })}
            </time>
          </li>
        ))}
      </ul>
      {notes.length > shown && <p className="muted">and {notes.length - shown} older</p>}
    </>
  )
}
