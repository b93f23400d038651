package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"keyway/internal/config"
	"keyway/internal/keyring"
	"keyway/internal/keystore"

	"github.com/spf13/cobra"
)

const signingKeyName = "signing-key"

// rotateKeysAnswer is rotate-keys --json.
type rotateKeysAnswer struct {
	Secret string `json:"secret"`
	From   string `json:"from"`
	To     string `json:"to"` // empty: none comes next yet
	Made   bool   `json:"made"`
	Why    string `json:"why"`
}

func newRotateKeysCommand(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate-keys",
		Short: "Make and publish the next signing key, from a job beside the gateway",
		Long: `Make the next signing key in BFF_KEYS_DIR, and publish it in its jwks.json. It is
for a sidecar or a scheduled job that mounts the same folder, and asks nobody. A
running gateway notices the key by itself, and signs with it once everybody can
have fetched it. If a key is waiting already, none is made.

AUTO_KEY_ROTATION decides: 1, and the next key is made when the active one is 90
days old (rotation.secrets.signing-key.every); 0, and nothing is done; not set,
and it is made now. signing_key.algorithm is what the next key is for, by default
the same as the active one.

Exit code 0: made, or nothing to do. 1: it could not be done.`,
		Example: "  keyway rotate-keys\n  keyway rotate-keys --older-than 30d --json",
		Args:    exactly(0, "no arguments"),
	}
	dir, asJSON := configFlag(cmd), jsonFlag(cmd)
	olderThan := age{}
	cmd.Flags().Var(&olderThan, "older-than", "only when the active key is at least this old, as in 30d or 12h")
	cmd.RunE = func(*cobra.Command, []string) error {
		c, err := loadSigningKey(s, *dir)
		if err != nil {
			return err
		}
		a, ring, err := rotateKeys(s, c, olderThan)
		if err != nil {
			return &exitError{exitNotSo, err}
		}
		if *asJSON {
			return printJSON(s.stdout, a)
		}
		return printRotateKeys(s, c.SigningKey.Dir, a, ring)
	}
	return cmd
}

// age is a duration that may be in days.
type age struct {
	time.Duration
	set bool
}

func (a *age) Set(text string) error {
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		d = time.Duration(n) * 24 * time.Hour
		if n > 36500 {
			err = strconv.ErrRange
		}
	}
	if err != nil || d < 0 {
		return fmt.Errorf("expected an age such as 30d or 12h, found %q", text)
	}
	a.Duration, a.set = d, true
	return nil
}

func (a *age) Type() string { return "age" }

func (a *age) String() string {
	if !a.set {
		return ""
	}
	return a.Duration.String()
}

func rotateKeys(s *streams, c *config.Config, olderThan age) (rotateKeysAnswer, keyring.Ring, error) {
	a := rotateKeysAnswer{Secret: signingKeyName}
	dir := c.SigningKey.Dir
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		// To make it here would hide that it is the wrong one.
		return a, keyring.Ring{}, fmt.Errorf("keys folder %s: expected the one that a gateway has made (BFF_KEYS_DIR), found none", dir)
	}
	store, err := keystore.Open(dir, keystore.Options{Algorithm: c.SigningKey.Algorithm})
	if err != nil {
		return a, keyring.Ring{}, err
	}
	defer func() {
		for _, notice := range store.Notices() {
			fmt.Fprintf(s.stderr, "keyway: note: %s\n", notice)
		}
	}()
	setting, _ := lookup(s.environ)("AUTO_KEY_ROTATION")
	every := c.Rotation.For(signingKeyName).Every
	var o keystore.ProposeOptions
	switch {
	case strings.TrimSpace(setting) != "" && !c.Rotation.Auto:
		a.Why = "AUTO_KEY_ROTATION=" + setting + " says not to"
	case olderThan.set:
		o.OlderThan = olderThan.Duration
	case c.Rotation.Auto && every == 0:
		a.Why = "rotation.secrets.signing-key.every is 0, which means never"
	case c.Rotation.Auto:
		o.OlderThan = every
	}
	if a.Why != "" {
		ring, err := store.Signing()
		if err == nil && !ring.IsZero() {
			a.From = ring.Active().ID
		}
		return a, ring, err
	}
	p, err := store.Propose(o)
	if errors.Is(err, keystore.ErrNoKeys) {
		err = fmt.Errorf("%w; is it the folder that the gateway uses (BFF_KEYS_DIR)?", err)
	}
	a.From, a.To, a.Made, a.Why = p.From, p.To, p.Made, p.Why
	return a, p.Ring, err
}

func printRotateKeys(s *streams, dir string, a rotateKeysAnswer, ring keyring.Ring) error {
	var b strings.Builder
	if a.Made {
		fmt.Fprintf(&b, "Made the next signing key.\n\n")
	} else {
		fmt.Fprintf(&b, "Nothing done: %s.\n\n", a.Why)
	}
	if v, err := ring.Lookup(a.From); err == nil {
		fmt.Fprintf(&b, "active  %s  since %s UTC\n", v.ID, v.ActivatedAt.UTC().Format(time.DateTime))
	}
	if v, err := ring.Lookup(a.To); err == nil {
		fmt.Fprintf(&b, "next    %s  in %s\n", v.ID, filepath.Join(dir, "jwks.json"))
	}
	if a.Made {
		fmt.Fprintf(&b, "\nA running gateway notices it by itself, and signs with it once everybody can have fetched it.\n")
	}
	_, err := s.stdout.Write([]byte(b.String()))
	return err
}

// loadSigningKey loads what a configuration says of the signing key and its
// rotation, and nothing else: a job beside the gateway has neither its secrets nor
// all of its variables, and must not stop for what does not concern it.
func loadSigningKey(s *streams, dir string) (*config.Config, error) {
	env := lookup(s.environ)
	fromEnv, _ := env("BFF_CONFIG_DIR")
	named := cmp.Or(dir, fromEnv)
	dir = cmp.Or(named, "config")
	if _, err := os.Stat(dir); err != nil && named != "" {
		return nil, usage("%w: %s", config.ErrNoDir, dir)
	}
	files := map[string][]byte{}
	content, err := os.ReadFile(filepath.Join(dir, config.SettingsFile))
	if err == nil {
		files[config.SettingsFile] = []byte(only(string(content), wanted))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, &exitError{exitNotSo, err}
	}
	names := []string{"BFF_KEYS_DIR", "KEYS_DIR", "AUTO_KEY_ROTATION"}
	for _, m := range reference.FindAllStringSubmatch(string(files[config.SettingsFile]), -1) {
		names = append(names, m[1])
	}
	var environ []string
	for _, name := range names {
		if value, ok := env(name); ok {
			environ = append(environ, name+"="+value)
		}
	}
	c, err := config.LoadFiles(dir, files, environ)
	if inv, ok := errors.AsType[*config.InvalidError](err); ok {
		if err := printCheck(s.stderr, nil, checkAnswer{Problems: inv.Problems}); err != nil {
			return nil, err
		}
		return nil, notSo()
	}
	return c, err
}

var reference = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)`)

// keys is a part of a YAML document: a key without any below it means all of it.
type keys map[string]keys

var wanted = keys{"signing_key": nil, "rotation": {"auto": nil, "secrets": {signingKeyName: nil}}}

var yamlKey = regexp.MustCompile(`^( *)["']?([A-Za-z0-9_./-]+)["']?\s*:(.*)$`)

// only blanks the lines of a block mapping that are of other keys, so that the
// numbers of those that stay are right. What is written on one line stays whole.
func only(text string, want keys) string {
	lines := strings.Split(text, "\n")
	blankOthers(lines, want)
	return strings.Join(lines, "\n")
}

func blankOthers(lines []string, want keys) {
	indent := -1
	for i := 0; i < len(lines); {
		m := yamlKey.FindStringSubmatch(lines[i])
		if indent < 0 && m != nil {
			indent = len(m[1])
		}
		if m == nil || len(m[1]) != indent {
			i++ // a comment, or ---
			continue
		}
		end := i + 1
		for end < len(lines) {
			next := yamlKey.FindStringSubmatch(lines[end])
			if next != nil && len(next[1]) <= indent {
				break
			}
			end++
		}
		below, ok := want[m[2]]
		switch {
		case !ok:
			clear(lines[i:end])
		case below != nil:
			blankOthers(lines[i+1:end], below)
		}
		i = end
	}
}
