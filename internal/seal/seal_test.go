package seal

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"keyway/internal/keyring"
	"keyway/internal/secret"
	"keyway/internal/threat"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func ring(t testing.TB, states ...string) keyring.Ring {
	t.Helper()
	var versions []keyring.Version
	for _, s := range states {
		id, state, _ := strings.Cut(s, "=")
		v := keyring.Version{ID: id, State: keyring.State(state)}
		if v.State.Live() {
			v.Value = secret.NewValue([]byte("0123456789abcdef0123456789abcdef" + id))
		}
		versions = append(versions, v)
	}
	r, err := keyring.New("session-key", versions...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func sealer(t testing.TB, purpose string, states ...string) *Sealer {
	t.Helper()
	s, err := NewSealer(ring(t, states...), purpose)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealedIsOpenedThroughARotation(t *testing.T) {
	before := sealer(t, "record", "v1=active")
	sealed := before.Seal([]byte("tokens"), []byte("key"))
	if id, _ := VersionOf(sealed); id != "v1" {
		t.Errorf("sealed names version %q", id)
	}
	for name, c := range map[string]struct {
		states []string
		want   error
	}{
		"pending elsewhere": {[]string{"v2=pending", "v1=active"}, nil},
		"overlap":           {[]string{"v2=active", "v1=retiring"}, nil},
		"retired":           {[]string{"v2=active", "v1=retired"}, keyring.ErrRetired},
		"never heard of":    {[]string{"v2=active"}, keyring.ErrUnknownVersion},
	} {
		t.Run(name, func(t *testing.T) {
			plain, err := sealer(t, "record", c.states...).Open(sealed, []byte("key"))
			if !errors.Is(err, c.want) || (c.want == nil && string(plain) != "tokens") {
				t.Errorf("Open: %q, %v; want %v", plain, err, c.want)
			}
		})
	}
}

func TestSealedCantBeChangedOrMoved(t *testing.T) {
	threat.Covers(t, 25)
	s := sealer(t, "record", "v1=active", "v2=retiring")
	text := s.SealText([]byte("tokens"), []byte("key"))
	if plain, err := s.OpenText(text, []byte("key")); err != nil || string(plain) != "tokens" {
		t.Fatal(err)
	}
	refused := func(name, text, context string, s *Sealer) {
		t.Helper()
		if _, err := s.OpenText(text, []byte(context)); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	for i := range text {
		for _, flip := range []byte{1, 4, 32} {
			changed := []byte(text)
			changed[i] ^= flip
			refused("bit flip", string(changed), "key", s)
		}
		refused("truncated", text[:i], "key", s)
	}
	refused("extended", text+"A", "key", s)
	refused("other context", text, "yek", s)
	refused("other purpose", text, "key", sealer(t, "transaction", "v1=active"))
	refused("other version's name", "v2"+strings.TrimPrefix(text, "v1"), "key", s)
	refused("not base64", "v1.!!", "key", s)
	refused("non-canonical base64", text+"=", "key", s)
	if bytes.Contains([]byte(text), []byte("tokens")) {
		t.Error("the plaintext shows")
	}
}

func TestEverySealIsDifferent(t *testing.T) {
	s := sealer(t, "record", "v1=active")
	first, second := s.SealText([]byte("a"), nil), s.SealText([]byte("a"), nil)
	if first == second {
		t.Error("two seals of one text agree")
	}
}

func TestHasherNamesItsVersion(t *testing.T) {
	old, err := NewHasher(ring(t, "v1=active"), "session id")
	if err != nil {
		t.Fatal(err)
	}
	sum, _ := old.Sum(old.ActiveVersion(), []byte("id"))
	rotated, _ := NewHasher(ring(t, "v2=active", "v1=retiring"), "session id")
	if same, err := rotated.Equal("v1", []byte("id"), sum[:]); !same || err != nil {
		t.Errorf("after a rotation: %v, %v", same, err)
	}
	if same, _ := rotated.Equal("v2", []byte("id"), sum[:]); same {
		t.Error("another version gives the same hash")
	}
	other, _ := NewHasher(ring(t, "v1=active"), "user agent")
	if same, _ := other.Equal("v1", []byte("id"), sum[:]); same {
		t.Error("another purpose gives the same hash")
	}
	if _, err := rotated.Sum("v3", nil); !errors.Is(err, keyring.ErrUnknownVersion) {
		t.Error(err)
	}
}

func TestTokens(t *testing.T) {
	threat.Covers(t, 29)
	mint := func(t *testing.T, states ...string) *Tokens {
		tokens, err := NewTokens(ring(t, states...), "csrf", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return tokens
	}
	old := mint(t, "v1=active")
	token := old.Mint("session-a", now)
	if token == old.Mint("session-a", now) {
		t.Error("two tokens agree")
	}
	rotated := mint(t, "v2=active", "v1=retiring")
	for name, c := range map[string]struct {
		tokens  *Tokens
		token   string
		binding string
		at      time.Time
		want    error
	}{
		"fresh":           {old, token, "session-a", now, nil},
		"after rotation":  {rotated, token, "session-a", now.Add(time.Minute), nil},
		"last second":     {old, token, "session-a", now.Add(time.Hour), nil},
		"expired":         {old, token, "session-a", now.Add(time.Hour + time.Second), ErrForged},
		"from the future": {old, token, "session-a", now.Add(-6 * time.Minute), ErrForged},
		"other session":   {old, token, "session-b", now, ErrForged},
		"retired version": {mint(t, "v2=active", "v1=retired"), token, "session-a", now, keyring.ErrRetired},
		"unknown version": {mint(t, "v2=active"), token, "session-a", now, keyring.ErrUnknownVersion},
		"empty":           {old, "", "session-a", now, ErrForged},
		"no version":      {old, strings.TrimPrefix(token, "v1"), "session-a", now, ErrForged},
		"truncated":       {old, token[:len(token)-1], "session-a", now, ErrForged},
		"extended":        {old, token + "A", "session-a", now, ErrForged},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.tokens.Check(c.token, c.binding, c.at)
			if name == "no version" && errors.Is(err, keyring.ErrUnknownVersion) {
				return // an empty id is an unknown one
			}
			if !errors.Is(err, c.want) {
				t.Errorf("Check: %v, want %v", err, c.want)
			}
		})
	}
}

func TestEmptyRingOrPurposeIsRefused(t *testing.T) {
	if _, err := NewSealer(keyring.Ring{}, "x"); err == nil {
		t.Error("empty ring accepted")
	}
	if _, err := NewHasher(ring(t, "v1=active"), ""); err == nil {
		t.Error("empty purpose accepted")
	}
}

func FuzzOpenText(f *testing.F) {
	s := sealer(f, "record", "v1=active")
	good := s.SealText([]byte("x"), []byte("k"))
	f.Add(good)
	f.Add("v1.")
	f.Add("." + good)
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := s.OpenText(text, []byte("k")); err == nil && text != good {
			// Only we can make one that opens; the seed's own text is the exception.
			if plain, _ := s.OpenText(text, []byte("k")); string(plain) != "x" {
				t.Errorf("forged: %q", text)
			}
		}
	})
}

func FuzzTokensCheck(f *testing.F) {
	tokens, err := NewTokens(ring(f, "v1=active"), "csrf", time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	good := tokens.Mint("a", now)
	f.Add(good)
	f.Add("v1.AAAA")
	f.Fuzz(func(t *testing.T, token string) {
		if tokens.Check(token, "b", now) == nil {
			t.Errorf("forged: %q", token)
		}
	})
}

func BenchmarkTokensCheck(b *testing.B) {
	tokens, _ := NewTokens(ring(b, "v1=active"), "csrf", time.Hour)
	token := tokens.Mint("a", now)
	b.ReportAllocs()
	for b.Loop() {
		if err := tokens.Check(token, "a", now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHasherSum(b *testing.B) {
	h, _ := NewHasher(ring(b, "v1=active"), "session id")
	id := make([]byte, 32)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Sum("v1", id); err != nil {
			b.Fatal(err)
		}
	}
}
