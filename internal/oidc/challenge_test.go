package oidc

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"keyway/internal/threat"
)

// A refusal of our credential may roll a rotation back. So it takes more than a
// status that a proxy, or somebody's junk token, can bring about.
func TestWhatRefusesOurCredential(t *testing.T) {
	const (
		basic   = `Basic realm="idp"`
		badness = `Bearer realm="idp", error="invalid_token", error_description="expired, or \"revoked\""`
	)
	for name, c := range map[string]struct {
		status  int
		body    string
		headers []string
		refused bool
	}{
		"invalid_client, 401":              {401, `{"error":"invalid_client"}`, nil, true},
		"invalid_client, 400":              {400, `{"error":"invalid_client"}`, nil, true},
		"unauthorized_client, 401":         {401, `{"error":"unauthorized_client","error_description":"Invalid client or Invalid client credentials"}`, nil, true},
		"unauthorized_client, 400":         {400, `{"error":"unauthorized_client"}`, nil, false},
		"another error, 401":               {401, `{"error":"access_denied"}`, []string{basic}, false},
		"an error of a token, 401":         {401, `{"error":"invalid_token"}`, []string{badness}, false},
		"bare":                             {401, ``, nil, false},
		"a page":                           {401, `<html>`, nil, false},
		"an empty error":                   {401, `{"error":""}`, nil, false},
		"an error that is no text":         {401, `{"error":401}`, nil, false},
		"Basic":                            {401, ``, []string{basic}, true},
		"basic":                            {401, `<html>`, []string{"basic"}, true},
		"Basic, 403":                       {403, ``, []string{basic}, false},
		"Basic, 400":                       {400, ``, []string{basic}, false},
		"Bearer":                           {401, ``, []string{`Bearer realm="idp"`}, false},
		"Bearer, of a token":               {401, ``, []string{badness}, false},
		"another scheme":                   {401, ``, []string{`Digest realm="idp", nonce="Basic realm"`}, false},
		"Basic, and Bearer":                {401, ``, []string{basic + `, Bearer realm="idp"`}, true},
		"Basic, and a token in the same":   {401, ``, []string{basic + `, ` + badness}, false},
		"Basic, and a token in the next":   {401, ``, []string{basic, badness}, false},
		"a token, and Basic":               {401, ``, []string{badness, basic}, false},
		"Basic in a text":                  {401, ``, []string{`Bearer realm="a, Basic realm=b"`}, false},
		"error of another scheme":          {401, ``, []string{basic + `, error="invalid_client"`}, true},
		"what can't be read, after Basic":  {401, ``, []string{basic + `, Bearer error="without an end`}, false},
		"what can't be read, in the next":  {401, ``, []string{basic, `"?"`}, false},
		"spaces and commas as RFC 9110 is": {401, ``, []string{"\t, ,Basic  realm = \"idp\" ,, charset=UTF-8"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			threat.Covers(t, 62)
			err := Answer{Status: c.status, Header: http.Header{"Www-Authenticate": c.headers}, Body: []byte(c.body)}.oauthError("introspection")
			if err == nil {
				t.Fatal("no error")
			}
			if isInvalidClient(err) != c.refused {
				t.Errorf("refuses our credential: %v, want %v: %v", !c.refused, c.refused, err)
			}
			if without := !strings.Contains(c.body, `"error":"`) || strings.Contains(c.body, `"error":""`); without && !c.refused && !errors.Is(err, ErrAnswer) {
				t.Errorf("expected ErrAnswer, found %v", err)
			}
		})
	}
}

// What a provider puts into a header is read in one way, and changes nothing else.
func FuzzChallenges(f *testing.F) {
	f.Add(`Basic realm="idp"`, `Bearer error="invalid_token", scope=a`)
	f.Add(`Negotiate YWJj==, Basic`, ``)
	f.Add(`Basic realm="\"`, `,,=`)
	f.Fuzz(func(t *testing.T, first, second string) {
		h := http.Header{"Www-Authenticate": {first, second}}
		all, ok := challenges(h)
		for _, c := range all {
			if !ok || c.scheme == "" || c.scheme != strings.ToLower(c.scheme) || strings.ContainsAny(c.scheme, " \t,=\"") {
				t.Errorf("ok %v, found %+v", ok, c)
			}
		}
		believed := refusesClient(h)
		if believed && !strings.Contains(strings.ToLower(first+" "+second), "basic") {
			t.Error("believed without a challenge for Basic")
		}
		h.Add("WWW-Authenticate", `Bearer error="invalid_token"`)
		if refusesClient(h) {
			t.Error("believed, though it is about a token")
		}
	})
}
