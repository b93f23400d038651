package upstream

import (
	"encoding/pem"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/threat"
)

// moody is an upstream that does with each request what its query says.
func moody() http.Handler {
	page := []byte(strings.Repeat("x", 50_000))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.RawQuery {
		case "early":
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			_, _ = w.Write(page)
		case "echo":
			_ = http.NewResponseController(w).EnableFullDuplex()
			_, _ = io.Copy(w, r.Body)
		case "cut":
			w.Header().Set("Content-Length", "100000")
			_, _ = w.Write(page)
			panic(http.ErrAbortHandler)
		case "slow":
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		case "half":
			_, _ = io.CopyN(io.Discard, r.Body, 10_000)
			_, _ = w.Write(page[:10])
		default:
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = w.Write(page)
		}
	})
}

// Exchanges that end in every way at once, over HTTP/1 and HTTP/2 on both sides: none
// touches another's, and nothing of them stays (see TestMain).
func TestExchangesThatEndInAnyOrder(t *testing.T) {
	threat.Covers(t, 41, 67)
	for _, outside := range []string{"HTTP/1", "HTTP/2"} {
		for _, inside := range []string{"HTTP/1", "HTTP/2"} {
			t.Run(outside+" to "+inside, func(t *testing.T) {
				t.Parallel()
				upstream := httptest.NewUnstartedServer(moody())
				upstream.Config.ErrorLog = silent
				upstream.EnableHTTP2 = inside == "HTTP/2"
				upstream.StartTLS()
				t.Cleanup(upstream.Close)
				trusted := TLS{CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: upstream.Certificate().Raw})}
				p, err := New(Options{Services: []Service{{Name: "api", BaseURL: upstream.URL, TLS: trusted, Timeout: 300 * time.Millisecond, WriteStall: 300 * time.Millisecond}}})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(p.Close)
				front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					r.Body = http.MaxBytesReader(nil, r.Body, 1<<20)
					err := p.Forward(w, r, Request{
						Service: "api", Path: "/", RawQuery: r.URL.RawQuery, ClientIP: netip.MustParseAddr("192.0.2.7"), Streaming: r.URL.Path == "/streams",
					})
					if err != nil {
						w.WriteHeader(http.StatusBadGateway)
					}
				}))
				front.Config.ErrorLog = silent
				front.EnableHTTP2 = outside == "HTTP/2"
				front.StartTLS()
				t.Cleanup(front.Close)
				var running sync.WaitGroup
				for worker := range 4 {
					running.Go(func() {
						random := rand.New(rand.NewPCG(1, uint64(worker)))
						for range 40 {
							oneOf(t, random, front)
						}
					})
				}
				running.Wait()
			})
		}
	}
}

// oneOf sends a request that is cut, slow, or neither, and checks what a whole answer
// must be.
func oneOf(t *testing.T, random *rand.Rand, front *httptest.Server) {
	mood := []string{"early", "echo", "cut", "slow", "half", "whole"}[random.IntN(6)]
	size := []int{0, 5, 5000, 200_000}[random.IntN(4)]
	var body io.Reader = strings.NewReader(strings.Repeat("b", size))
	if random.IntN(3) == 0 {
		body = io.MultiReader(body, failing{}) // of no known length, and cut
	}
	path := []string{"/", "/streams"}[random.IntN(2)]
	req, err := http.NewRequestWithContext(t.Context(), "POST", front.URL+path+"?"+mood, body)
	if err != nil {
		t.Error(err)
		return
	}
	client := *front.Client()
	client.Timeout = []time.Duration{20 * time.Millisecond, 2 * time.Second}[random.IntN(2)]
	res, err := client.Do(req)
	if err != nil {
		return
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode == http.StatusBadGateway {
		return
	}
	want := map[string]int{"early": 50_000, "whole": 50_000, "half": 10}
	if n, known := want[mood]; known && len(got) != n || mood == "echo" && len(got) > size || mood == "cut" {
		t.Errorf("%s of %d bytes: answered %s with %d bytes", mood, size, res.Status, len(got))
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("cut") }
