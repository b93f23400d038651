package storm

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// judge looks at what can only be known at the end: what the provider saw, and
// whether each replica is still there.
func (w *world) judge(keys *published) {
	for _, p := range w.replicas {
		if !p.runs() {
			w.ledger.amiss("replica %s has ended by itself", p.name)
		}
		w.reads(p)
	}
	for _, r := range w.idp.Requests(w.t, "") {
		assertion := r.Body["client_assertion"]
		if assertion != "" {
			w.signedBy(keys, r.Path, assertion)
		}
		if r.Path != "/token" {
			continue
		}
		if r.Body["grant_type"] == "refresh_token" && r.Status == 200 {
			w.refreshes++
		}
		if assertion != "" && r.Status == 401 {
			// A proof is asked for elsewhere: here somebody wanted tokens.
			w.ledger.amiss("the provider refused a client assertion at its token endpoint: %s", header(assertion))
		}
	}
}

// reads what a replica has printed: no secret, and nothing that is a defect.
func (w *world) reads(p *replica) {
	text, err := os.ReadFile(p.log)
	if err != nil {
		w.ledger.amiss("replica %s: %v", p.name, err)
		return
	}
	for _, what := range []string{"DATA RACE", "panic", "goroutine "} {
		if bytes.Contains(text, []byte(what)) {
			w.ledger.amiss("replica %s has printed %q; see %s", p.name, what, p.log)
		}
	}
	for value := range w.ledger.hidden {
		if bytes.Contains(text, []byte(value)) {
			w.ledger.amiss("replica %s has printed a secret, %s…; see %s", p.name, value[:6], p.log)
		}
	}
}

// signedBy: nothing may be signed with a key that was not published.
func (w *world) signedBy(keys *published, path, assertion string) {
	jws, err := jose.ParseSignedCompact(assertion, []jose.SignatureAlgorithm{jose.ES256, jose.PS256, jose.RS256, jose.EdDSA})
	if err != nil {
		w.ledger.amiss("a client assertion that is none: %v", err)
		return
	}
	if kid := jws.Signatures[0].Header.KeyID; keys.seen[kid].IsZero() {
		w.ledger.amiss("an assertion for %s was signed with the key %s, which nobody has seen published", path, kid)
	}
}

func header(assertion string) string {
	head, _, _ := strings.Cut(assertion, ".")
	return "its head is " + head
}

// enough: a storm in which nothing turns shows nothing.
func (w *world) enough() {
	least, all := 3, secrets
	if w.o.brief {
		least = 1
	}
	if !w.o.brief {
		for _, c := range w.credentials() {
			all = append([]string{c.ring}, all...)
		}
	}
	for _, secret := range all {
		if n := w.ledger.rotations[secret]["active"]; n < least {
			w.ledger.amiss("%s has turned %d times, expected %d at the least", secret, n, least)
		}
	}
}

// report writes everything down, and shows the table.
func (w *world) report() {
	table := w.ledger.table()
	w.t.Logf("%s, STORM_SEED=%d, %s\n%s", w.o.name, w.o.seed, w.o.lasts, table)
	must(w.t, os.WriteFile(filepath.Join(w.dir, "report.txt"), []byte(table), 0o600))
	must(w.t, os.WriteFile(filepath.Join(w.dir, "events.txt"), []byte(strings.Join(w.ledger.events, "\n")+"\n"), 0o600))
	if len(w.ledger.failures) == 0 {
		return
	}
	var b bytes.Buffer
	for i, f := range w.ledger.failures {
		fmt.Fprintf(&b, "#%d %s\n", i+1, f.text)
		if i < 50 {
			w.around(&b, f.at)
		}
		b.WriteByte('\n')
	}
	must(w.t, os.WriteFile(filepath.Join(w.dir, "failures.txt"), b.Bytes(), 0o600))
}

// around writes what was done and logged shortly before and after t.
func (w *world) around(b *bytes.Buffer, t time.Time) {
	const before, after = 2 * time.Second, 500 * time.Millisecond
	from, to := clock(t.Add(-before)), clock(t.Add(after))
	for _, e := range w.ledger.events {
		if at := e[:len(from)]; at >= from && at <= to {
			fmt.Fprintf(b, "    storm     %s\n", e)
		}
	}
	for _, p := range w.replicas {
		text, err := os.ReadFile(p.log)
		if err != nil {
			fmt.Fprintf(b, "    replica %s: %v\n", p.name, err)
			continue
		}
		lines := bufio.NewScanner(bytes.NewReader(text))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var at struct{ Time time.Time }
			if json.Unmarshal(lines.Bytes(), &at) == nil && !at.Time.Before(t.Add(-before)) && !at.Time.After(t.Add(after)) {
				fmt.Fprintf(b, "    replica %s %s\n", p.name, lines.Text())
			}
		}
	}
}
