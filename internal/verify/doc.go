// Package verify answers whether what was rotated works, everywhere: the checklist
// that an operator would go through by hand, each step with what it saw and, when it
// fails, the probable cause and the cure.
//
// It promises to be safe in production: no check has a side effect, needs a user, or
// shows a value, and each ends within a bounded time.
package verify
