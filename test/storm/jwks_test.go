package storm

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"sync"
	"time"
)

// published is what was seen of our key set, by everybody who looked.
type published struct {
	w    *world
	mu   sync.Mutex
	seen map[string]time.Time // kid: first
	gone map[string]time.Time // kid: it was there, and is not, by the same replica
}

// private are the members of a JWK that nobody but us may know (RFC 7518 section
// 6.2.2, 6.3.2, 6.4).
var private = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// poll fetches the key set from each replica, again and again. What is there must
// be sane in every phase: never empty, nothing private, and a key that was
// withdrawn does not come back.
func (p *published) poll(ctx context.Context) {
	client := &http.Client{Timeout: 10 * time.Second}
	here := map[string]map[string]bool{} // replica, kid
	for n := 0; pause(ctx, 40*time.Millisecond); n++ {
		r := p.w.replicas[n%len(p.w.replicas)]
		from := time.Now()
		kids, err := p.fetch(ctx, client, r)
		switch {
		case ctx.Err() != nil:
			return
		case r.wasDown(from, time.Now()):
			here[r.name] = nil
			continue
		case err != nil:
			p.w.ledger.amiss("jwks.json of replica %s: %v", r.name, err)
			continue
		}
		p.w.polled.Add(1)
		p.note(r, here[r.name], kids)
		here[r.name] = kids
	}
}

func (p *published) note(r *replica, before, now map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for kid := range now {
		if _, known := p.seen[kid]; !known {
			p.seen[kid] = time.Now()
		}
		if at, was := p.gone[r.name+kid]; was {
			p.w.ledger.amiss("jwks.json of replica %s has the key %s again, which was gone since %s", r.name, kid, clock(at))
			delete(p.gone, r.name+kid)
		}
	}
	for kid := range before {
		if !now[kid] {
			p.gone[r.name+kid] = time.Now()
		}
	}
}

var maxAge = regexp.MustCompile(`max-age=\d+`)

func (p *published) fetch(ctx context.Context, client *http.Client, r *replica) (map[string]bool, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+r.addr+"/.well-known/jwks.json", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "Mozilla/5.0 (somebody who looks)") // not the provider's
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(text, &set); err != nil || resp.StatusCode != http.StatusOK {
		return nil, &insaneError{resp.Status + ": " + oneLine(string(text))}
	}
	if len(set.Keys) == 0 {
		return nil, &insaneError{"it is empty"}
	}
	if !maxAge.MatchString(resp.Header.Get("Cache-Control")) {
		return nil, &insaneError{"Cache-Control: " + resp.Header.Get("Cache-Control")}
	}
	kids := map[string]bool{}
	for _, key := range set.Keys {
		kid, _ := key["kid"].(string)
		for _, name := range private {
			if _, there := key[name]; there {
				return nil, &insaneError{"it holds " + name + " of the key " + kid}
			}
		}
		if kid == "" || kids[kid] {
			return nil, &insaneError{"a key without an id, or two of the same: " + kid}
		}
		kids[kid] = true
	}
	return kids, nil
}

type insaneError struct{ what string }

func (e *insaneError) Error() string { return e.what }
