package oidc

import (
	"context"
	"errors"
	"testing"
	"time"

	"keyway/internal/threat"
)

func TestGateOpensAfterSilenceAndProbesOnceInAPause(t *testing.T) {
	threat.Covers(t, 12, 67)
	now := time.Unix(2_000_000_000, 0)
	g := &gate{endpoint: "par"}
	call := func(o outcome) error {
		err := g.enter(now)
		if err == nil {
			g.leave(now, o)
		}
		return err
	}
	for _, o := range []outcome{silent, silent, silent, silent, answered, silent, silent, silent, silent, unknown} {
		if err := call(o); err != nil {
			t.Fatalf("shut too early: %v", err)
		}
	}
	if err := call(silent); err != nil {
		t.Fatal(err)
	}
	err := call(answered)
	away, ok := errors.AsType[*UnavailableError](err)
	if !ok || !errors.Is(err, errSilent) || away.RetryAfter < shortestPause || away.RetryAfter > longestPause {
		t.Fatalf("got %v, want to be told to come again in a second or two", err)
	}
	// One probe in each pause, also while the last one still hangs.
	for range 3 {
		now = now.Add(longestPause)
		if err := g.enter(now); err != nil {
			t.Fatalf("the probe: %v", err)
		}
		if err := g.enter(now); !errors.Is(err, errSilent) {
			t.Fatalf("a second probe: %v", err)
		}
	}
	g.leave(now, unknown) // its browser went away: it proves nothing
	if err := g.enter(now); !errors.Is(err, errSilent) {
		t.Errorf("after a probe that was given up: %v", err)
	}
	g.leave(now, silent)
	g.leave(now, answered)
	if g.inFlight != 0 {
		t.Errorf("%d in flight", g.inFlight)
	}
	for range 10 * silencesToOpen {
		if err := call(answered); err != nil {
			t.Fatalf("after an answer: %v", err)
		}
	}
}

func TestGateBoundsCallsAtOnce(t *testing.T) {
	threat.Covers(t, 12)
	now := time.Unix(2_000_000_000, 0)
	g := &gate{endpoint: "par"}
	for range maxPushes {
		if err := g.enter(now); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.enter(now); !errors.Is(err, ErrUnavailable) || !errors.Is(err, errTooMany) {
		t.Errorf("one too many: %v", err)
	}
	g.leave(now, answered)
	if err := g.enter(now); err != nil {
		t.Errorf("once one is done: %v", err)
	}
	if maxConnections < 2*maxPushes {
		t.Error("pushed requests can take all connections")
	}
}

func TestOutcomes(t *testing.T) {
	gone, leave := context.WithCancel(t.Context())
	leave()
	late, stop := context.WithTimeout(t.Context(), -time.Second)
	defer stop()
	silence := &UnavailableError{Endpoint: "par", Cause: errors.New("timed out")}
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		want outcome
	}{
		"good":                   {t.Context(), nil, answered},
		"an error response":      {t.Context(), &OAuthError{Code: "invalid_client"}, answered},
		"503":                    {t.Context(), &UnavailableError{Status: 503}, answered},
		"no answer":              {t.Context(), silence, silent},
		"half an answer":         {t.Context(), &UnavailableError{Status: 200, Cause: errors.New("reading")}, silent},
		"the browser went away":  {gone, silence, unknown},
		"our own deadline":       {late, silence, silent},
		"answered, then is gone": {gone, nil, answered},
	} {
		if got := outcomeOf(c.ctx, c.err); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}
