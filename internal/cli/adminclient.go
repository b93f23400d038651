package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"keyway/internal/admin"
	"keyway/internal/problem"
	"keyway/internal/secret"
)

const (
	defaultAdmin = "http://127.0.0.1:8001"
	// adminTimeout is how long an answer may take that is not waited for.
	adminTimeout = 30 * time.Second
	// maxAnswer bounds an answer, in bytes: the status of a very large fleet.
	maxAnswer = 64 << 20
)

// adminFlags say where a running gateway is, and what lets us in.
type adminFlags struct{ url, tokenFile *string }

func adminFlagsOf(cmd *cobra.Command) adminFlags {
	return adminFlags{
		cmd.Flags().String("admin", "", "`URL` of the gateway's admin listener (default KEYWAY_ADMIN, then "+defaultAdmin+")"),
		cmd.Flags().String("admin-token-file", "", "`file` with the bearer token of the admin API (default KEYWAY_ADMIN_TOKEN_FILE)"),
	}
}

// adminClient speaks to the admin API of one gateway.
type adminClient struct {
	base  *url.URL
	token secret.Value
	http  *http.Client
}

// client reads the flags and the environment. Its errors are wrong calls.
func (f adminFlags) client(s *streams) (*adminClient, error) {
	env := lookup(s.environ)
	from := func(flag, flagName, variable string) (value, origin string) {
		if flag != "" {
			return flag, flagName
		}
		value, _ = env(variable)
		return value, variable
	}
	address, origin := from(*f.url, "--admin", "KEYWAY_ADMIN")
	if address == "" {
		address = defaultAdmin
	}
	base, err := adminURL(address)
	if err != nil {
		return nil, usage("%s: %w", origin, err)
	}
	c := &adminClient{base: base, http: &http.Client{
		// No proxy: the admin side is not for those who are on the way. No redirects:
		// the token is for this address.
		Transport:     &http.Transport{DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if path, origin := from(*f.tokenFile, "--admin-token-file", "KEYWAY_ADMIN_TOKEN_FILE"); path != "" {
		found, err := secret.Finder{}.Read(path)
		if err != nil {
			return nil, usage("%s: the token of the admin API can't be read: %w", origin, err)
		}
		if bytes.ContainsFunc(found.Value.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, usage("%s: %s: expected a token, one line of printable ASCII without spaces; found something else", origin, path)
		}
		c.token = found.Value
	}
	return c, nil
}

func adminURL(address string) (*url.URL, error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	// What is not a plain address may hold a password, and is not repeated.
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("expected the URL of an admin listener, as in " + defaultAdmin)
	}
	return u, nil
}

// reply is an answer that was good.
type reply struct {
	status int
	body   []byte
	tag    string
	now    time.Time // by the gateway's clock
}

// unreachableError says that nobody answered, or nobody who could. It may pass.
type unreachableError struct{ err error }

func (e *unreachableError) Error() string { return e.err.Error() }
func (e *unreachableError) Unwrap() error { return e.err }

// do asks. path is below the API's prefix; a body makes it a POST. Its errors
// carry the exit code, but for those of ctx.
func (c *adminClient) do(ctx context.Context, path string, query url.Values, tag string, body any) (reply, error) {
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	return c.send(ctx, method, path, query, tag, body)
}

// send is do with any method.
func (c *adminClient) send(ctx context.Context, method, path string, query url.Values, tag string, body any) (reply, error) {
	u := c.base.JoinPath(admin.Prefix, path)
	u.RawQuery = query.Encode()
	content := []byte(nil)
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return reply{}, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(content))
	if err != nil {
		return reply{}, err
	}
	r.Header.Set("User-Agent", "keyway/"+buildVersion().Version)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if tag != "" {
		r.Header.Set("If-None-Match", tag)
	}
	if !c.token.IsZero() {
		r.Header.Set("Authorization", "Bearer "+string(c.token.Reveal()))
	}
	response, err := c.http.Do(r)
	if err != nil {
		return reply{}, c.unreachable(ctx, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return reply{}, c.unreachable(ctx, err)
	}
	a := reply{status: response.StatusCode, body: text, tag: response.Header.Get("ETag"), now: time.Now()}
	if at, err := http.ParseTime(response.Header.Get("Date")); err == nil && a.now.Sub(at).Abs() > 2*time.Second {
		a.now = at // clocks differ; ages are by theirs
	}
	kind, _, _ := strings.Cut(response.Header.Get("Content-Type"), ";")
	if a.status == http.StatusNotModified || a.status == http.StatusNoContent || a.status < 300 && kind == "application/json" && json.Valid(text) {
		return a, nil
	}
	return reply{}, c.refused(a, kind)
}

func (c *adminClient) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// net/url's error repeats the whole URL, which says less than the cause.
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	cause, hint := err.Error(), ""
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		cause = "nobody listens there"
		hint = "Start a gateway with 'keyway serve' or 'keyway demo', or say where its admin listener (BFF_ADMIN_ADDR) is: --admin URL, or KEYWAY_ADMIN."
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		cause = "it hung up without one"
		hint = "Whether it has begun with what was asked is for 'keyway status' to say, when it is back."
	case strings.Contains(cause, "HTTPS client"), strings.Contains(cause, "malformed HTTP"):
		hint = "Is it http or https? Say so in --admin URL."
	default:
		hint = "Expected the admin listener (BFF_ADMIN_ADDR) of a running gateway: --admin URL, or KEYWAY_ADMIN."
	}
	return &exitError{exitNotSo, &unreachableError{fmt.Errorf("no answer from %s: %s. %s", c.base, printable(cause), hint)}}
}

// refused makes an error of an answer that is none.
func (c *adminClient) refused(a reply, kind string) error {
	var p admin.Problem
	if kind == "application/problem+json" {
		_ = json.Unmarshal(a.body, &p)
	}
	p.Detail, p.Cure, p.Secret = printable(p.Detail), printable(p.Cure), printable(p.Secret)
	switch {
	case p.Code == "unknown_secret":
		return &exitError{exitUsage, errors.New(printable((&admin.UnknownSecretError{Name: p.Secret, Known: p.Known}).Error()))}
	case p.Code == "unknown_session":
		return &exitError{exitNotSo, &unknownSessionError{admin.Sentence(p.Detail, p.Cure)}}
	case p.Code == "refused":
		return &exitError{exitNotSo, &admin.RefusedError{Secret: p.Secret, Why: p.Detail, Cure: p.Cure}}
	case p.Code == problem.Starting:
		return &exitError{exitNotSo, &unreachableError{fmt.Errorf("%s is starting, and waits for what it needs, most often its Redis (REDIS_URL); its log says what. Ask again in a moment", c.base)}}
	case p.Code == "" && a.status >= http.StatusBadGateway && a.status <= http.StatusGatewayTimeout:
		return &exitError{exitNotSo, &unreachableError{fmt.Errorf("%s: something in front of the gateway answers %d for it", c.base, a.status)}}
	case p.Code == "" || p.Code == problem.NotFound || p.Detail == "":
		// The public listener answers so, too, and anything else that speaks HTTP.
		return &exitError{exitNotSo, fmt.Errorf("%s answers, but not as an admin API (status %d, %s). "+
			"Expected the admin listener of a gateway that has one (BFF_ADMIN_ADDR, %s by default), not its public listener: --admin URL, or KEYWAY_ADMIN",
			c.base, a.status, orNone(printable(kind)), defaultAdmin)}
	case a.status == http.StatusBadRequest:
		return usage("%s", admin.Sentence(p.Detail, p.Cure))
	}
	err := fmt.Errorf("%s: %s", c.base, admin.Sentence(p.Detail, p.Cure))
	if a.status == http.StatusServiceUnavailable {
		err = &unreachableError{err}
	}
	return &exitError{exitNotSo, err}
}

func orNone(s string) string {
	if s == "" {
		return "no content type"
	}
	return s
}

// printable keeps what a gateway says, and through it a peer or whoever signs in, from
// steering the terminal: by control characters, or by what turns the direction so
// that a line reads as another (Unicode Standard Annex 9).
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return '?'
		}
		return r
	}, s)
}
