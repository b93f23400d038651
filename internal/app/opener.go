package app

import (
	"cmp"
	"errors"
	"fmt"

	"keyway/internal/config"
	"keyway/internal/fleet"
	"keyway/internal/keyring"
	"keyway/internal/secret"
)

// opener opens the secrets that a configuration names.
type opener struct {
	finder  secret.Finder
	managed bool // Keyway makes what is not handed in
	shared  bool // replicas share a store
}

func newOpener(c *config.Config, env func(string) (string, bool)) opener {
	return opener{
		finder: secret.Finder{
			Env: env,
			Dir: c.SecretSources.Dir,
			// Its name in the older Compose stack.
			Aliases: map[string][]string{"AUTH_CLIENT_SECRET": {"oidc-client-secret"}},
		},
		managed: c.Secrets == config.SecretsManaged,
		shared:  !c.Store.RedisURL.IsZero(),
	}
}

// find reads a secret. The error is secret.ErrNotFound when there is none and
// nobody said that there would be.
func (o opener) find(ref config.SecretRef) (secret.Found, error) {
	var found secret.Found
	var err error
	switch ref.Kind {
	case config.SecretFile:
		found, err = o.finder.Read(ref.Name)
		if err != nil {
			return secret.Found{}, fmt.Errorf("%s: %w", ref, err)
		}
		return found, nil
	case config.SecretEnv:
		found, err = o.finder.Find(ref.Name)
	default:
		return secret.Found{}, secret.ErrNotFound
	}
	if errors.Is(err, secret.ErrNotFound) && !ref.Default {
		// The configuration names it, so it must be there.
		return secret.Found{}, fmt.Errorf("the configuration names %s: %v", ref, err)
	}
	return found, err
}

// previous is the value before, if somebody left it beside the present one. One
// that can't be used is passed over here: package source complains of it.
func (o opener) previous(d definition) *keyring.Candidate {
	var found secret.Found
	err := secret.ErrNotFound
	if d.ref.Kind == config.SecretEnv {
		found, err = o.finder.Find(d.ref.Name + "_PREVIOUS")
	}
	for _, path := range o.paths(d.ref) {
		for _, suffix := range []string{"_previous", "-previous"} {
			if errors.Is(err, secret.ErrNotFound) {
				if found, err = o.finder.Read(path + suffix); err != nil {
					err = secret.ErrNotFound
				}
			}
		}
	}
	if err != nil || d.check(found.Value) != nil {
		return nil
	}
	candidate := d.candidate(found.Value)
	return &candidate
}

func (o opener) paths(ref config.SecretRef) []string {
	if ref.Kind == config.SecretFile {
		return []string{ref.Name}
	}
	if path, ok := o.finder.Env(ref.Name + "_FILE"); ok && path != "" {
		return []string{path}
	}
	return o.finder.Paths(ref.Name)
}

// given is what was handed in of a secret at the start.
type given struct {
	current  keyring.Candidate
	previous *keyring.Candidate
	origin   string // for people
}

// handedIn opens everything that comes from outside, and reports all that is
// wrong with it at once.
func (o opener) handedIn(c *config.Config, defs []definition) (map[string]given, error) {
	all := map[string]given{}
	refused := &secretsError{dir: cmp.Or(c.SecretSources.Dir, secret.DefaultDir), shared: o.shared}
	for _, d := range defs {
		if !d.handedIn() {
			continue
		}
		found, err := o.find(d.ref)
		if errors.Is(err, secret.ErrNotFound) {
			if d.need == optional || d.need == unlessManaged && o.managed {
				continue
			}
			refused.missing = refused.missing || d.need == unlessManaged
		}
		if err == nil {
			err = d.check(found.Value)
			if weak, ok := errors.AsType[*secret.WeakError](err); ok {
				weak.Found += " (" + found.Origin + ")"
			}
		}
		if err != nil {
			refused.problems = append(refused.problems, err)
			continue
		}
		all[d.name] = given{d.candidate(found.Value), o.previous(d), found.Origin}
	}
	if len(refused.problems) > 0 {
		return nil, refused
	}
	return all, nil
}

func isNotFound(err error) bool { return errors.Is(err, secret.ErrNotFound) }

// unsealKeys are the values of TOKEN_HASH_SALT that open what replicas share.
func unsealKeys(g given) []fleet.UnsealKey {
	keys := []fleet.UnsealKey{{ID: g.current.ID, Value: g.current.Value}}
	if g.previous != nil {
		keys = append(keys, fleet.UnsealKey{ID: g.previous.ID, Value: g.previous.Value})
	}
	return keys
}
