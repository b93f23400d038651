package config

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// SecretKind is where a SecretRef points.
type SecretKind uint8

// The kinds.
const (
	SecretNone SecretKind = iota // nothing is configured
	SecretEnv                    // a secret by name: NAME_FILE, NAME, or a file in the secrets folder
	SecretFile                   // a file by path
)

// SecretRef names a secret. It never holds the value, so it is safe to print.
type SecretRef struct {
	Kind SecretKind
	Name string // the name, or the path of the file
	// Default: nobody configured it; Name is where one would be looked for.
	Default bool
}

// IsZero says that there is no reference at all.
func (r SecretRef) IsZero() bool { return r.Kind == SecretNone }

// String is the reference as it would be written in YAML.
func (r SecretRef) String() string {
	switch r.Kind {
	case SecretEnv:
		return "${" + r.Name + "}"
	case SecretFile:
		return "file:" + r.Name
	}
	return ""
}

const secretWant = "name it instead: file:/path/to/it, or ${NAME} (looked for in NAME_FILE, NAME and the secrets folder)"

var secretVar = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$`)

// parseSecretRef never puts text into its error: it may be a secret.
func parseSecretRef(text string) (SecretRef, error) {
	if m := secretVar.FindStringSubmatch(text); m != nil {
		return SecretRef{Kind: SecretEnv, Name: m[1]}, nil
	}
	if path, ok := strings.CutPrefix(text, "file:"); ok {
		if !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "./") {
			return SecretRef{}, bad("a file: reference without an absolute path (or one that starts with ./)", "expected file:/path/to/it")
		}
		return SecretRef{Kind: SecretFile, Name: path}, nil
	}
	if strings.HasPrefix(text, "${") && strings.Contains(text, ":-") {
		return SecretRef{}, bad("a default value for a secret", secretWant)
	}
	return SecretRef{}, bad("a secret written out (not shown here)", secretWant)
}

// RedisURL is a URL that may hold a password. Printing it does not show one.
type RedisURL struct{ text string }

// IsZero says that no URL is configured.
func (u RedisURL) IsZero() bool { return u.text == "" }

// Reveal is the URL with whatever credentials it holds. Never print it.
func (u RedisURL) Reveal() string { return u.text }

// String is the URL without password and query.
func (u RedisURL) String() string {
	if u.text == "" {
		return ""
	}
	scheme, rest, _ := strings.Cut(u.text, "://")
	rest, _, _ = strings.Cut(rest, "?")
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = "xxxxx@" + rest[i+1:]
	}
	return scheme + "://" + rest
}

// GoString keeps %#v from showing what String hides.
func (u RedisURL) GoString() string { return fmt.Sprintf("config.RedisURL(%q)", u.String()) }

var redisSchemes = []string{"redis", "rediss", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel"}

func parseRedisURL(text string) (RedisURL, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	want := "expected redis://host:6379/0, rediss:// for TLS, redis+cluster://host1,host2 or redis+sentinel://host1,host2/master-name"
	if !ok || !contains(redisSchemes, scheme) {
		return RedisURL{}, bad("a Redis URL with an unknown scheme (the rest is not shown)", want)
	}
	// Several hosts are not a URL to net/url, so each is looked at by itself.
	rest, query, _ := strings.Cut(rest, "?")
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = rest[i+1:]
	}
	hosts, _, _ := strings.Cut(rest, "/")
	for h := range strings.SplitSeq(hosts, ",") {
		if u, err := url.Parse("redis://" + h); err != nil || u.Hostname() == "" || u.User != nil {
			return RedisURL{}, bad("a Redis URL without a readable host (the rest is not shown)", want)
		}
	}
	if _, err := url.ParseQuery(query); err != nil {
		return RedisURL{}, bad("a Redis URL with an unreadable query (not shown)", want)
	}
	return RedisURL{text}, nil
}

// hasPassword says whether the URL holds credentials.
func (u RedisURL) hasPassword() bool {
	_, rest, _ := strings.Cut(u.text, "://")
	auth, query, _ := strings.Cut(rest, "?")
	return strings.Contains(auth, "@") || strings.Contains(strings.ToLower(query), "password")
}
