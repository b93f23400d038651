package bearer

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keyway/internal/oidc"
	"keyway/internal/principal"
	"keyway/internal/problem"
	"keyway/internal/threat"
)

const theirs = "https://reports.example.com"

func lacks(scopes string) string {
	return `Bearer realm="bff", error="insufficient_scope", scope="` + scopes + `"`
}

// What a route needs holds for JWTs and for what a provider answers alike; and as
// well when the answer is one that another route had.
func TestNeed(t *testing.T) {
	s := newSigning(t)
	claims := map[string]any{"aud": []string{ours, theirs}, "scope": "notes:read notes:write", "exp": time.Now().Add(time.Hour).Unix()}
	said := newAsked(func(token string) (string, error) {
		if !strings.HasPrefix(token, "opaque") {
			return inactive(token)
		}
		return active("machine", claims), nil
	})
	a := authenticator(t, Options{Entries: []Entry{
		{Name: "main", Issuer: issuer, Provider: "main", Audience: []string{ours, theirs}, Keys: s.keys, Introspect: said.introspect},
		{Name: "other", Issuer: "https://other.example.com", Provider: "other", Audience: []string{"third"}, Keys: s.keys},
	}})
	for kind, token := range map[string]string{"jwt": s.token(t, "at+jwt", claims), "introspected": "opaque"} {
		for name, c := range map[string]struct {
			need      Need
			code      problem.Code
			challenge string
		}{
			"nothing":                {Need{}, "", ""},
			"one audience":           {Need{Audience: []string{theirs}}, "", ""},
			"one of two audiences":   {Need{Audience: []string{"third", ours}}, "", ""},
			"another entry's":        {Need{Audience: []string{"third"}}, problem.InvalidToken, invalidToken},
			"an audience of no one":  {Need{Audience: []string{ours + "/"}}, problem.InvalidToken, invalidToken},
			"its entry":              {Need{IdPs: []string{"other", "main"}}, "", ""},
			"another entry":          {Need{IdPs: []string{"other"}}, problem.InvalidToken, invalidToken},
			"an entry of no one":     {Need{IdPs: []string{"Main"}}, problem.InvalidToken, invalidToken},
			"a scope":                {Need{Scopes: []string{"notes:write"}}, "", ""},
			"all scopes":             {Need{Scopes: []string{"notes:write", "notes:read"}}, "", ""},
			"another scope":          {Need{Scopes: []string{"notes:delete"}}, problem.InsufficientScope, lacks("notes:delete")},
			"one more":               {Need{Scopes: []string{"notes:read", "admin"}}, problem.InsufficientScope, lacks("notes:read admin")},
			"a part of a scope":      {Need{Scopes: []string{"notes"}}, problem.InsufficientScope, lacks("notes")},
			"scopes in other case":   {Need{Scopes: []string{"Notes:Read"}}, problem.InsufficientScope, lacks("Notes:Read")},
			"both wrong: the worse":  {Need{Scopes: []string{"admin"}, Audience: []string{"third"}}, problem.InvalidToken, invalidToken},
			"a scope that can't be":  {Need{Scopes: []string{`a" realm="x`}}, problem.InsufficientScope, `Bearer realm="bff", error="insufficient_scope"`},
			"audience, entry, scope": {Need{Audience: []string{theirs}, IdPs: []string{"main"}, Scopes: []string{"notes:read"}}, "", ""},
		} {
			t.Run(kind+", "+name, func(t *testing.T) {
				threat.Covers(t, 45, 46)
				who, passed, err := a.Authenticate(t.Context(), []string{"Bearer " + token}, c.need)
				if c.code != "" {
					want(t, err, c.code, c.challenge)
					if passed.Len() != 0 || who.Subject != "" {
						t.Errorf("with the refusal came %+v", who)
					}
					return
				}
				if err != nil || who.Subject != "machine" || !slices.Equal(who.Scopes, []string{"notes:read", "notes:write"}) {
					t.Errorf("%+v %v", who, err)
				}
			})
		}
	}
	if n := said.times("opaque"); n != 1 {
		t.Errorf("the provider was asked %d times, want once for all routes", n)
	}
}

// One token on many routes at once: each has its own answer, whoever was first.
func TestNeedsAtOnce(t *testing.T) {
	threat.Covers(t, 45, 46)
	said := newAsked(always(active("", map[string]any{"client_id": "job", "scp": []string{"a"}, "aud": []string{ours, theirs}}), nil))
	first, second := asking(said), asking(said)
	first.Audience, second.Audience, second.Name, second.Provider = []string{ours}, []string{theirs}, "second", "second"
	a := authenticator(t, Options{Entries: []Entry{first, second}})
	needs := []struct {
		need     Need
		code     problem.Code
		provider string
	}{
		{Need{Scopes: []string{"a"}}, "", "main"},
		{Need{Scopes: []string{"b"}}, problem.InsufficientScope, ""},
		{Need{Audience: []string{theirs}}, "", "second"},
		{Need{Audience: []string{ours}}, "", "main"},
		{Need{Audience: []string{"neither"}}, problem.InvalidToken, ""},
		{Need{IdPs: []string{"second"}}, "", "second"},
		{Need{IdPs: []string{"second"}, Audience: []string{ours}}, problem.InvalidToken, ""},
	}
	var wait sync.WaitGroup
	for i := range 20 * len(needs) {
		wait.Go(func() {
			c := needs[i%len(needs)]
			who, _, err := a.Authenticate(t.Context(), []string{"Bearer shared"}, c.need)
			switch {
			case c.code == "" && (err != nil || who.Provider != c.provider || who.Subject != "job" || who.ClientID != "job"):
				t.Errorf("%+v: %+v %v, want it at %s", c.need, who, err, c.provider)
			case c.code != "" && problem.CodeOf(err) != c.code:
				t.Errorf("%+v: %+v %v, want %s", c.need, who, err, c.code)
			}
		})
	}
	wait.Wait()
	if n := said.times("shared"); n != 2 {
		t.Errorf("asked %d times, want once for each entry", n)
	}
}

// Two entries of one issuer with different audiences are told apart by audience, for
// JWTs and for opaque tokens.
func TestOneIssuerTwoAudiences(t *testing.T) {
	s := newSigning(t)
	said := newAsked(func(token string) (string, error) {
		return active("machine", map[string]any{"aud": strings.TrimPrefix(token, "for-")}), nil
	})
	entry := func(name, audience string) Entry {
		return Entry{Name: name, Provider: name, Issuer: issuer, Audience: []string{audience}, Keys: s.keys, Introspect: said.introspect}
	}
	a := authenticator(t, Options{Entries: []Entry{entry("a", "api-a"), entry("b", "api-b")}})
	for _, audience := range []string{"a", "b"} {
		for _, token := range []string{s.token(t, "at+jwt", map[string]any{"aud": "api-" + audience}), "for-api-" + audience} {
			if who, err := present(t, a, token); err != nil || who.Provider != audience {
				t.Errorf("for %s: %+v %v", audience, who, err)
			}
		}
	}
	// For both: the route decides.
	both := s.token(t, "at+jwt", map[string]any{"aud": []string{"api-a", "api-b"}})
	if who, _, err := a.Authenticate(t.Context(), []string{"Bearer " + both}, Need{Audience: []string{"api-b"}}); err != nil || who.Provider != "b" {
		t.Errorf("%+v %v", who, err)
	}
	_, err := present(t, a, "for-api-c")
	want(t, err, problem.InvalidToken, invalidToken)
}

// An opaque token is a secret of its owner and of one provider: others see it only
// if the route accepts theirs, they are asked about such tokens at all, and nobody
// has known it before them.
func TestWhoSeesAnOpaqueToken(t *testing.T) {
	for name, c := range map[string]struct {
		need   Need
		asked  string // of the entries one, two, three; three is of the issuer of one
		closed string // entry with opaque_tokens: false
		knows  string
		aud    string
		code   problem.Code
	}{
		"all until one knows":           {Need{}, "one two three", "", "three", ours, ""},
		"the first knows":               {Need{}, "one", "", "one", ours, ""},
		"nobody after who knows it":     {Need{}, "two", "one three", "two", "elsewhere", problem.InvalidToken},
		"only its issuer's other entry": {Need{}, "one three", "", "one", "elsewhere", problem.InvalidToken},
		"only the route's entry":        {Need{IdPs: []string{"two"}}, "two", "", "three", ours, problem.InvalidToken},
		"only who has the audience":     {Need{Audience: []string{theirs}}, "two", "", "three", ours, problem.InvalidToken},
		"not who says no":               {Need{}, "one three", "two", "three", ours, ""},
		"nobody":                        {Need{IdPs: []string{"two"}}, "", "two", "two", ours, problem.InvalidToken},
		"not for the scope":             {Need{Scopes: []string{"x"}}, "one", "", "one", ours, problem.InsufficientScope},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 46)
			var entries []Entry
			asked := map[string]*asked{}
			for _, n := range []string{"one", "two", "three"} {
				at := "https://" + strings.Replace(n, "three", "one", 1) + ".example.com"
				asked[n] = newAsked(inactive)
				if c.knows == n {
					asked[n].say(always(active("machine", map[string]any{"iss": at, "aud": c.aud}), nil))
				}
				e := Entry{Name: n, Provider: n, Issuer: at, Audience: []string{ours}, Introspect: asked[n].introspect, NotOpaque: strings.Contains(c.closed, n)}
				if n == "two" {
					e.Audience = []string{ours, theirs}
				}
				entries = append(entries, e)
			}
			a := authenticator(t, Options{Entries: entries})
			who, _, err := a.Authenticate(t.Context(), []string{"Bearer opaque"}, c.need)
			if got := problem.CodeOf(err); err != nil && got != c.code || err == nil && (c.code != "" || who.Provider != c.knows) {
				t.Errorf("%+v %v, want %s", who, err, c.code)
			}
			if err != nil && c.asked == "" && !strings.Contains(err.Error(), "no entry that is accepted here is asked about others") {
				t.Errorf("%v: nobody was asked, and it does not say so", err)
			}
			var saw []string
			for _, n := range []string{"one", "two", "three"} {
				if asked[n].times("opaque") > 0 {
					saw = append(saw, n)
				}
			}
			if got := strings.Join(saw, " "); got != c.asked {
				t.Errorf("it was shown to %q, want %q", got, c.asked)
			}
		})
	}
}

// How an entry is asked is part of the question: a new client, endpoint or form
// has no use for what another was told.
func TestAskerIsPartOfTheQuestion(t *testing.T) {
	threat.Covers(t, 46)
	cache := newCache(t)
	for i, asker := range []string{`"a" "b"`, `"a b"`, ""} {
		said := newAsked(always(active(fmt.Sprint(i), nil), nil))
		e := asking(said)
		e.Asker = asker
		a := authenticator(t, Options{Cache: cache, Entries: []Entry{e}})
		for range 2 {
			if who, err := present(t, a, "opaque"); err != nil || who.Subject != fmt.Sprint(i) {
				t.Errorf("%q: %+v %v", asker, who, err)
			}
		}
	}
}

// Failures of one route's question are nobody's answer: neither another route's, nor
// this one's later.
func TestFailureIsNoAnswer(t *testing.T) {
	threat.Covers(t, 45, 47)
	said := newAsked(always("", &oidc.UnavailableError{Endpoint: "introspection"}))
	a := authenticator(t, Options{Entries: []Entry{asking(said)}})
	for _, need := range []Need{{}, {Scopes: []string{"x"}}, {Audience: []string{ours}}} {
		_, _, err := a.Authenticate(t.Context(), []string{"Bearer opaque"}, need)
		want(t, err, problem.IdPUnavailable, "")
	}
	said.say(always(active("machine", map[string]any{"scope": "x"}), nil))
	if _, _, err := a.Authenticate(t.Context(), []string{"Bearer opaque"}, Need{Scopes: []string{"x"}}); err != nil {
		t.Error(err)
	}
}

func TestScopes(t *testing.T) {
	for name, c := range map[string]struct {
		claims map[string]any
		want   []string
	}{
		"scope":             {map[string]any{"scope": "a b"}, []string{"a", "b"}},
		"spaces":            {map[string]any{"scope": " a   b "}, []string{"a", "b"}},
		"twice":             {map[string]any{"scope": "a a"}, []string{"a"}},
		"scp, text":         {map[string]any{"scp": "a b"}, []string{"a", "b"}},
		"scp, list":         {map[string]any{"scp": []any{"a", "b", 5, nil, []any{"c"}}}, []string{"a", "b"}},
		"scp, list of two":  {map[string]any{"scp": []any{"a b"}}, nil},
		"scope before scp":  {map[string]any{"scope": "a", "scp": "b"}, []string{"a"}},
		"scope empty":       {map[string]any{"scope": "", "scp": "b"}, nil},
		"scope as a list":   {map[string]any{"scope": []any{"a"}, "scp": "b"}, nil},
		"scope as a number": {map[string]any{"scope": 5}, nil},
		"null":              {map[string]any{"scope": nil, "scp": "b"}, nil},
		"an object":         {map[string]any{"scp": map[string]any{"a": true}}, nil},
		"other spaces":      {map[string]any{"scope": "a\u00a0admin b\tadmin c\nadmin d\u2028admin e"}, []string{"e"}},
		"quotes":            {map[string]any{"scope": `a"b a\b ok`}, []string{"ok"}},
		"none":              {map[string]any{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 50)
			if got := scopesOf(c.claims); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// Roles in odd shapes: what is no text in a list, or one text, is none; nothing is
// guessed out of it.
func TestClaimShapes(t *testing.T) {
	deep := map[string]any{"realm": map[string]any{"roles": []any{"nested"}}, "realm.roles": "dotted"}
	for name, c := range map[string]struct {
		claims map[string]any
		from   Claim
		want   []string
	}{
		"list":                  {map[string]any{"roles": []any{"a", "b"}}, Claim{Source: "roles"}, []string{"a", "b"}},
		"one text":              {map[string]any{"roles": "a b"}, Claim{Source: "roles"}, []string{"a b"}},
		"one text, split":       {map[string]any{"roles": "a  b"}, Claim{Source: "roles", SpaceDelimited: true}, []string{"a", "b"}},
		"split at spaces alone": {map[string]any{"roles": "a\u00a0admin b,admin"}, Claim{Source: "roles", SpaceDelimited: true}, []string{"a\u00a0admin", "b,admin"}},
		"list is not split":     {map[string]any{"roles": []any{"a admin"}}, Claim{Source: "roles", SpaceDelimited: true}, []string{"a admin"}},
		"a look-alike":          {map[string]any{"roles": "a@ok@evil"}, Claim{Source: "roles"}, []string{"a@ok@evil"}},
		"line breaks":           {map[string]any{"roles": []any{"a\r\nX-User-ID: root", "b\x00", "\u0085", "ok"}}, Claim{Source: "roles"}, []string{"\u0085", "ok"}},
		"objects":               {map[string]any{"roles": map[string]any{"admin": true}}, Claim{Source: "roles"}, nil},
		"list in a list":        {map[string]any{"roles": []any{[]any{"admin"}}}, Claim{Source: "roles"}, nil},
		"JSON in a text":        {map[string]any{"roles": `["admin"]`}, Claim{Source: "roles"}, []string{`["admin"]`}},
		"numbers, booleans":     {map[string]any{"roles": []any{1, true, nil}}, Claim{Source: "roles"}, nil},
		"a name with a dot":     {deep, Claim{Source: "realm.roles"}, []string{"dotted"}},
		"through a text":        {map[string]any{"realm": "x"}, Claim{Source: "realm.roles"}, nil},
		"through a list":        {map[string]any{"realm": []any{map[string]any{"roles": "admin"}}}, Claim{Source: "realm.roles"}, nil},
		"empty source":          {map[string]any{"roles": "a"}, Claim{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 50)
			if got := pick(c.claims, []Claim{c.from}); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	threat.Covers(t, 50)
	var many []any
	for i := range 10 * maxValues {
		many = append(many, fmt.Sprint(i))
	}
	// However many there are: who decides sees that some are left out.
	if roles := pick(map[string]any{"roles": many}, []Claim{{Source: "roles"}}); len(roles) != maxValues || (&principal.Principal{Roles: roles}).Whole() == nil {
		t.Errorf("%d values, want %d, and that it can be seen that there are more", len(roles), maxValues)
	}
	if roles := pick(map[string]any{"roles": many[:principal.MaxRights]}, []Claim{{Source: "roles"}}); (&principal.Principal{Roles: roles}).Whole() != nil {
		t.Errorf("%d values are too many", len(roles))
	}
}

// Without a question to a provider keys still prove, and what it said a moment ago
// counts; anything else is refused, and no answer is made up for later.
func TestNotAsked(t *testing.T) {
	threat.Covers(t, 12, 45)
	s := newSigning(t)
	claims := map[string]any{"aud": []string{ours}, "exp": time.Now().Add(time.Hour).Unix()}
	said := newAsked(func(token string) (string, error) { return active("machine", claims), nil })
	a := authenticator(t, Options{Entries: []Entry{
		{Name: "main", Issuer: issuer, Provider: "main", Audience: []string{ours}, Keys: s.keys, Introspect: said.introspect},
	}})
	code := func(token string, notAsked bool) problem.Code {
		_, _, err := a.Authenticate(t.Context(), []string{"Bearer " + token}, Need{NotAsked: notAsked})
		if err == nil {
			return ""
		}
		return problem.CodeOf(err)
	}
	if got := code(s.token(t, "at+jwt", claims), true); got != "" {
		t.Errorf("a token that keys prove: %s", got)
	}
	for _, token := range []string{"opaque", s.token(t, "JWT", claims)} {
		if got := code(token, true); got != problem.InvalidToken {
			t.Errorf("a token that nobody knows: %q", got)
		}
		if got := code(token, false); got != "" {
			t.Errorf("when it is asked about: %s", got)
		}
		if got := code(token, true); got != "" {
			t.Errorf("when it was asked about: %s", got)
		}
	}
}
