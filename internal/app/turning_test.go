package app

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keyway/internal/config"
	"keyway/internal/fleet"
	"keyway/internal/jwks"
	"keyway/internal/keyring"
	"keyway/internal/keystore"
	"keyway/internal/oidc"
	"keyway/internal/rotation"
	"keyway/internal/threat"
)

// aFleet is what its replicas say.
type aFleet struct {
	rotation.Fleet
	said func() fleet.Roll
}

func (f aFleet) Roll(context.Context) (rotation.Roll, error) {
	return rollOf(f.said(), time.Time{}), nil
}

// signingRing has an active and a pending key.
func signingRing(t *testing.T, algorithm string, made time.Time) keyring.Ring {
	t.Helper()
	var versions []keyring.Version
	for _, state := range []keyring.State{keyring.Pending, keyring.Active} {
		id, value, err := keystore.NewSigningKey(algorithm)
		if err != nil {
			t.Fatal(err)
		}
		v := keyring.Version{ID: id, State: state, CreatedAt: made, Value: value}
		if state == keyring.Active {
			v.ActivatedAt = made
		}
		versions = append(versions, v)
	}
	ring, err := keyring.New(nameSigningKey, versions...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// The peer's requests for our keys arrive at any replica. Who leads may never see
// one, and goes on all the same; and the store's clock is not ours.
func TestAFetchAtAnyReplicaCounts(t *testing.T) {
	threat.Covers(t, 54)
	const skew = time.Minute
	for name, off := range map[string]time.Duration{"one clock": 0, "the store's is ahead": time.Hour, "the store's is behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			now := time.Now().Add(off) // by the store's clock, as the ring's dates
			ring := signingRing(t, jwks.ES256, now.Add(-10*time.Minute))
			provider, err := oidc.NewProvider(oidc.ProviderOptions{Issuer: "https://idp.example"})
			if err != nil {
				t.Fatal(err)
			}
			for when, c := range map[string]struct {
				fetched time.Duration // ago; 0: never
				want    bool
			}{
				"never": {0, false}, "before": {11 * time.Minute, false}, "within the skew": {9*time.Minute + 30*time.Second, false}, "since": {5 * time.Minute, true},
			} {
				leads, other := fleet.Held{}, fleet.Held{}
				if c.fetched > 0 {
					other.Fetched = now.Add(-c.fetched)
				}
				a := &app{overheard: &overheard{Fleet: aFleet{said: func() fleet.Roll {
					return fleet.Roll{Now: now, Reports: []fleet.Report{
						{ID: "leads", Secrets: map[string]fleet.Held{nameSigningKey: leads}}, {ID: "other", Secrets: map[string]fleet.Held{nameSigningKey: other}},
					}}
				}}}}
				a.resources.peers = map[string]*oidc.Provider{signIn: provider}
				d := definition{name: nameSigningKey}
				if p := a.outward(d, rotation.Policy{Skew: skew}, ring); p.Published != 0 {
					t.Errorf("%s: nothing is known yet", when)
				}
				if _, err := a.overheard.Roll(t.Context()); err != nil {
					t.Fatal(err)
				}
				if p := a.outward(d, rotation.Policy{Skew: skew}, ring); (p.Published > 0) != c.want {
					t.Errorf("%s: published for %s", when, p.Published)
				}
				pending, _ := ring.Pending()
				said := a.operator(d, []string{signIn}, signIn, pending, rotation.Proof{FirstRefused: time.Now().Add(-time.Minute)})
				if nobody := strings.Contains(said, "nobody has fetched"); nobody != (c.fetched == 0) {
					t.Errorf("%s: the operator is told: %s", when, said)
				}
			}
		})
	}
}

// The runner is what tells of them.
func TestTheRunnerOverhearsTheFleet(t *testing.T) {
	a, err := opened(t, env(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	a.resources.fetched.note(time.Now().Add(time.Minute))
	a.follower.announce()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); a.runner.Run(ctx) }()
	defer func() { cancel(); <-done }()
	until(t, "the fetch is known", func() bool { return !a.overheard.fetched().IsZero() })
}

// silent is a network in which nobody answers.
type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// All secrets are turned by one runner: that one of them needs to know something of
// a provider which hangs must not hold the others up. The key is then of the kind
// that it took so far.
func TestAProviderThatHangsHoldsNoTurnUp(t *testing.T) {
	threat.Covers(t, 67)
	for _, algorithm := range []string{jwks.ES256, jwks.RS256} {
		t.Run(algorithm, func(t *testing.T) {
			ring := signingRing(t, algorithm, time.Now())
			synctest.Test(t, func(t *testing.T) {
				provider, err := oidc.NewProvider(oidc.ProviderOptions{Issuer: "https://idp.example", HTTP: &http.Client{Transport: silent{}}})
				if err != nil {
					t.Fatal(err)
				}
				a := &app{config: &config.Config{}}
				a.resources.provider = provider
				a.current.Store(&served{rings: rings{nameSigningKey: ring}})
				began := time.Now()
				made, err := a.makeSigningKey(t.Context())
				if took := time.Since(began); err != nil || took > 2*time.Second {
					t.Errorf("it took %s: %v", took, err)
				}
				key, err := jwks.ParseKey(made.Value)
				if err != nil || key.Algorithm() != algorithm {
					t.Errorf("a key for %s, want %s: %v", key.Algorithm(), algorithm, err)
				}
				time.Sleep(time.Minute) // the question is everybody's, and goes on
			})
		})
	}
}

// What a provider says with 429 or 503 arrives where the next question is planned,
// also beside another provider's refusal.
func TestAProviderSaysWhenToAskAgain(t *testing.T) {
	threat.Covers(t, 71)
	for name, c := range map[string]struct {
		errs []error
		want time.Duration
	}{
		"nothing":                {nil, 0},
		"no time said":           {[]error{&oidc.UnavailableError{Endpoint: "token"}, errors.New("else")}, 0},
		"the longest of several": {[]error{&oidc.UnavailableError{RetryAfter: time.Second}, &oidc.UnavailableError{RetryAfter: time.Minute}, errors.New("else")}, time.Minute},
	} {
		err := later(c.errs)
		said, ok := errors.AsType[*rotation.LaterError](err)
		if ok != (c.want > 0) || ok && (said.After != c.want || !errors.Is(err, oidc.ErrUnavailable)) || !ok && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	var refuses atomic.Bool
	server := func(busy bool) *oidc.Provider {
		mux := http.NewServeMux()
		s := httptest.NewServer(mux)
		t.Cleanup(s.Close)
		mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"issuer":"` + s.URL + `","authorization_endpoint":"` + s.URL + `/a","token_endpoint":"` + s.URL + `/token","jwks_uri":"` + s.URL + `/jwks"}`))
		})
		mux.HandleFunc("/token", func(w http.ResponseWriter, _ *http.Request) {
			switch {
			case busy:
				w.Header().Set("Retry-After", "300")
				w.WriteHeader(http.StatusTooManyRequests)
			case refuses.Load():
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = w.Write([]byte(`{"error":"invalid_client"}`))
			default:
				w.WriteHeader(http.StatusBadRequest)
				_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
			}
		})
		p, err := oidc.NewProvider(oidc.ProviderOptions{Issuer: s.URL, HTTP: client(t)})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	ring := signingRing(t, jwks.ES256, time.Now())
	us, err := oidc.NewClient(oidc.ClientOptions{ClientID: "gateway", Signing: ring, HTTP: client(t)})
	if err != nil {
		t.Fatal(err)
	}
	a := &app{}
	a.resources.peers = map[string]*oidc.Provider{"busy": server(true), "other": server(false)}
	a.current.Store(&served{clients: map[string]*oidc.Client{"busy": us, "other": us}})
	pending, _ := ring.Pending()
	for want, refused := range map[rotation.Verdict]bool{rotation.Unknown: false, rotation.Refused: true} {
		refuses.Store(refused)
		verdict, by, err := a.prove(t.Context(), []string{"busy", "other"}, pending.ID)
		said, ok := errors.AsType[*rotation.LaterError](err)
		if verdict != want || !ok || said.After != 300*time.Second {
			t.Errorf("%s, want %s: %v", verdict, want, err)
		}
		if refused != (by == "other") {
			t.Errorf("%s: refused by %q", want, by)
		}
	}
	a.overheard, a.clientIDs = &overheard{}, map[string]string{"busy": "first", "other": "second"}

	// One of several holds the key back for all, and is named.
	var found refuser
	found.note(pending.ID, "other")
	if found.of("another") != "" {
		t.Error("a verdict about another version")
	}
	said := a.operator(definition{}, []string{"busy", "other"}, found.of(pending.ID), pending, rotation.Proof{FirstRefused: time.Now().Add(-time.Minute)})
	if !strings.Contains(said, a.resources.peers["other"].Issuer()+" (client second, one of 2 that have to accept it)") || strings.Contains(said, a.resources.peers["busy"].Issuer()) {
		t.Errorf("the operator is told: %s", said)
	}
}
