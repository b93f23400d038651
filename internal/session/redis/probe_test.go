package redis

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/redis/rueidis"
)

// cracked is a node whose client panics when it is used.
type cracked struct{ rueidis.Client }

func (cracked) B() rueidis.Builder { panic("with a secret in it") }

// A defect at one node is that node's, and tells nobody that the cluster is there.
func TestADefectInAProbeEndsNothing(t *testing.T) {
	var log bytes.Buffer
	s := &Store{log: slog.New(slog.NewTextHandler(&log, nil))}
	if s.anyAnswers(map[string]rueidis.Client{"a": cracked{}}) {
		t.Error("it answers")
	}
	if text := log.String(); !strings.Contains(text, "met a defect") || strings.Contains(text, "with a secret") {
		t.Errorf("logged %q", text)
	}
}
