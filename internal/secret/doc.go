// Package secret holds bytes that must not be seen, and knows where they come
// from.
//
// A [Value] cannot be printed: every verb of fmt, encoding/json, encoding.Text
// and log/slog shows the same placeholder. The one way to the bytes is
// [Value.Reveal], a name that can be searched for.
//
// A [Finder] looks a named secret up in the places that an operator of this
// kind of gateway already uses: NAME_FILE, the environment, a mounted folder.
package secret
