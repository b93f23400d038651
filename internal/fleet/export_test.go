package fleet

// Jitter and RetryAfter are tested as the pure functions that they are.
var (
	Jitter     = jitter
	RetryAfter = retryAfter
)

// The forms of the key-encryption key's entry, for fuzzing.
var (
	ParseWrapped     = parseWrapped
	ParseKEKDocument = parseKEKDocument
)

// EncodeKEKDocument is the other direction.
func EncodeKEKDocument(d kekDocument) ([]byte, error) { return d.encode() }

// OpenWrapped opens it with keys.
func OpenWrapped(w wrapped, keys ...UnsealKey) error {
	_, err := w.open(keys)
	return err
}
