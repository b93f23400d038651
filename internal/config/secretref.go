package config

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
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

// redisParams are the parameters that a Redis URL may have: those that count.
// Timeouts are the session store's own.
var redisParams = []string{"addr", "client_name", "db", "master_set", "max_retries", "skip_verify"}

// parseRedisURL never puts text into its error: it may hold a password.
func parseRedisURL(text string) (RedisURL, error) {
	const want = "expected redis://[user:password@]host:port[/db], or rediss:// for TLS; for Sentinel ?master_set=NAME, further addresses as &addr=host:port"
	u, err := url.Parse(text)
	if err != nil {
		return RedisURL{}, bad("a Redis URL that can't be read (not shown)", want+"; what is special in a password is percent-encoded")
	}
	switch u.Scheme {
	case "redis", "rediss", "valkey", "valkeys":
		if u.Hostname() == "" {
			return RedisURL{}, bad("a Redis URL without a host (the rest is not shown)", want)
		}
		if db := strings.Trim(u.Path, "/"); db != "" {
			if _, err := strconv.ParseUint(db, 10, 16); err != nil {
				return RedisURL{}, bad("a Redis URL with a path that is not the number of a database (not shown)", want)
			}
		}
	case "unix":
		if u.Path == "" {
			return RedisURL{}, bad("a unix: Redis URL without a path (the rest is not shown)", "expected unix:///path/to/redis.sock")
		}
	default:
		return RedisURL{}, bad("a Redis URL with an unknown scheme (the rest is not shown)", want)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || u.Fragment != "" {
		return RedisURL{}, bad("a Redis URL with an unreadable query (not shown)", want)
	}
	for name, values := range query {
		if name == "protocol" || name == "client_cache" {
			return RedisURL{}, bad("a Redis URL that sets protocol or client_cache", "without them: a logout is seen by other replicas through what RESP3 tells of changes")
		}
		if name == "dial_timeout" || name == "write_timeout" {
			return RedisURL{}, bad("a Redis URL that sets "+name+", which would not count: the store's timeouts are fixed", "without it; what counts is "+orList(redisParams))
		}
		if !contains(redisParams, name) {
			return RedisURL{}, bad("a Redis URL with an unknown parameter (not shown)", "expected "+orList(redisParams))
		}
		if name == "max_retries" && values[0] != "0" {
			return RedisURL{}, bad("a Redis URL with a number of max_retries that would not count", "max_retries=0, which switches them off, or without it")
		}
	}
	return RedisURL{text}, nil
}
