package leakhunt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"sync"
)

// Endings of the files' names.
const (
	SecretsFile = ".secrets"
	OutputsFile = ".outputs"
)

// MinLength is that of the shortest value that is hunted: shorter ones are found
// everywhere, by chance.
const MinLength = 8

// SecretRecord is a line of a secrets file, as JSON.
type SecretRecord struct {
	What  string `json:"what"`
	Test  string `json:"test,omitempty"`
	Value []byte `json:"value"`
}

// OutputRecord is the line, as JSON, in front of so many bytes of an outputs file,
// which end with a newline that is not theirs.
type OutputRecord struct {
	Where string `json:"where"`
	Test  string `json:"test,omitempty"`
	Bytes int    `json:"bytes"`
}

// Recorder writes to one pair of files. It is safe for concurrent use; a nil
// Recorder writes nothing.
type Recorder struct {
	mu      sync.Mutex
	seed    maphash.Seed
	known   map[uint64]struct{} // values written already
	secrets *os.File
	outputs *os.File
}

// Open makes a recorder with new files in dir, which must be there.
func Open(dir string) (*Recorder, error) {
	r := &Recorder{seed: maphash.MakeSeed(), known: make(map[uint64]struct{})}
	var err error
	// CreateTemp makes files of mode 0600, each with a name of its own.
	if r.secrets, err = os.CreateTemp(dir, fmt.Sprintf("%s-*%s", filepath.Base(os.Args[0]), SecretsFile)); err != nil {
		return nil, err
	}
	if r.outputs, err = os.OpenFile(r.secrets.Name()+OutputsFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil {
		return nil, err
	}
	return r, nil
}

// Secret writes down a value that must not be found. Values that are too short are
// left out, known ones written once.
func (r *Recorder) Secret(test, what, value string) error {
	if r == nil || len(value) < MinLength {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// Two values with one hash of 64 bits, under a seed of this process: the second
	// would not be hunted. That happens to one in millions of runs.
	h := maphash.String(r.seed, value)
	if _, is := r.known[h]; is {
		return nil
	}
	r.known[h] = struct{}{}
	line, err := json.Marshal(SecretRecord{what, test, []byte(value)})
	if err == nil {
		_, err = r.secrets.Write(append(line, '\n'))
	}
	return err
}

// Output writes down what a gateway has said.
func (r *Recorder) Output(test, where string, text []byte) error {
	if r == nil || len(text) == 0 {
		return nil
	}
	head, err := json.Marshal(OutputRecord{where, test, len(text)})
	if err != nil {
		return err
	}
	record := make([]byte, 0, len(head)+len(text)+2)
	record = append(append(append(append(record, head...), '\n'), text...), '\n')
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err = r.outputs.Write(record)
	return err
}

// Close ends the files.
func (r *Recorder) Close() error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.secrets.Close(); err != nil {
		return err
	}
	return r.outputs.Close()
}

// ReadSecrets reads a secrets file.
func ReadSecrets(text []byte) ([]SecretRecord, error) {
	var all []SecretRecord
	for line := range bytes.Lines(text) {
		var s SecretRecord
		if err := json.Unmarshal(line, &s); err != nil {
			return all, fmt.Errorf("secret %d: %w", len(all)+1, err)
		}
		all = append(all, s)
	}
	return all, nil
}

// ReadOutputs calls f with each record of an outputs file. The last one may have
// been cut, when its process was killed.
func ReadOutputs(text []byte, f func(OutputRecord, []byte)) error {
	for n := 1; len(text) > 0; n++ {
		head, rest, whole := bytes.Cut(text, []byte("\n"))
		if !whole {
			return nil
		}
		var o OutputRecord
		if err := json.Unmarshal(head, &o); err != nil || o.Bytes < 0 {
			return fmt.Errorf("output %d: expected the line in front of it: %v", n, err)
		}
		f(o, rest[:min(o.Bytes, len(rest))])
		text = rest[min(o.Bytes+1, len(rest)):]
	}
	return nil
}
