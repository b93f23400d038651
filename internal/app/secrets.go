package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"keyway/internal/config"
	"keyway/internal/fleet"
	"keyway/internal/keyring"
	"keyway/internal/keystore"
	"keyway/internal/secret"
)

// Names of the secrets, as rotations, metrics and commands call them.
const (
	nameClientSecret  = "client-secret"
	nameSigningKey    = "signing-key"
	nameSessionKey    = "session-key"
	nameTokenHashSalt = "token-hash-salt"
	nameUAHashSalt    = "ua-hash-salt"
	nameCSRFKey       = "csrf-key"
	nameStateKey      = "state-key"
)

// rings are the secrets that a generation is built from. Each is a ring from the
// start, though it holds one version only as long as nothing rotates.
type rings struct {
	tokenHashSalt keyring.Ring
	uaHashSalt    keyring.Ring
	csrfKey       keyring.Ring
	stateKey      keyring.Ring
	sessionKey    keyring.Ring
	signingKey    keyring.Ring
	clientSecret  keyring.Ring // zero: no client secret is configured

	agreed []string // the names of those that the fleet agreed on in the shared store
}

func (r *rings) all() []keyring.Ring {
	var all []keyring.Ring
	for _, name := range []string{
		nameTokenHashSalt, nameUAHashSalt, nameCSRFKey, nameStateKey, nameSessionKey, nameSigningKey, nameClientSecret,
	} {
		if ring := r.named(name); !ring.IsZero() {
			all = append(all, *ring)
		}
	}
	return all
}

// named is where the ring of that name is kept; nil for another name.
func (r *rings) named(name string) *keyring.Ring {
	switch name {
	case nameTokenHashSalt:
		return &r.tokenHashSalt
	case nameUAHashSalt:
		return &r.uaHashSalt
	case nameCSRFKey:
		return &r.csrfKey
	case nameStateKey:
		return &r.stateKey
	case nameSessionKey:
		return &r.sessionKey
	case nameSigningKey:
		return &r.signingKey
	case nameClientSecret:
		return &r.clientSecret
	}
	return nil
}

// opener opens the secrets that a configuration names.
type opener struct {
	finder  secret.Finder
	managed bool // Keyway makes what is not handed in
	shared  bool // replicas share a store
	now     time.Time
}

// need is whether a start is refused without a secret.
type need int

const (
	optional      need = iota
	unlessManaged      // Keyway makes it, if it was told to
	always
)

func newOpener(c *config.Config, env func(string) (string, bool), now time.Time) opener {
	return opener{
		finder: secret.Finder{
			Env: env,
			Dir: c.SecretSources.Dir,
			// Its name in the older Compose stack.
			Aliases: map[string][]string{"AUTH_CLIENT_SECRET": {"oidc-client-secret"}},
		},
		managed: c.Secrets == config.SecretsManaged,
		shared:  !c.Store.RedisURL.IsZero(),
		now:     now,
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

// inward opens a secret that we issue with. The zero Ring means that it is not
// handed in and Keyway is to make it.
func (o opener) inward(name string, ref config.SecretRef, needed need) (keyring.Ring, error) {
	found, err := o.find(ref)
	if errors.Is(err, secret.ErrNotFound) {
		if needed == optional || needed == unlessManaged && o.managed {
			return keyring.Ring{}, nil
		}
		return keyring.Ring{}, err
	}
	if err != nil {
		return keyring.Ring{}, err
	}
	err = secret.CheckStrength(ref.Name, found.Value)
	if weak, ok := errors.AsType[*secret.WeakError](err); ok {
		weak.Found += " (" + found.Origin + ")"
	}
	if err != nil {
		return keyring.Ring{}, err
	}
	return o.single(name, secret.Fingerprint(name, found.Value), found.Value)
}

// peer opens a secret that somebody else accepts, and chose.
func (o opener) peer(name string, ref config.SecretRef) (keyring.Ring, error) {
	found, err := o.find(ref)
	if errors.Is(err, secret.ErrNotFound) {
		return keyring.Ring{}, nil
	}
	if err != nil {
		return keyring.Ring{}, err
	}
	return o.single(name, secret.FingerprintOfPeerSecret(name, found.Value), found.Value)
}

func (o opener) single(name, id string, value secret.Value) (keyring.Ring, error) {
	return keyring.New(name, keyring.Version{
		ID: id, State: keyring.Active, CreatedAt: o.now, ActivatedAt: o.now, Value: value,
	})
}

// handedIn opens everything that comes from outside, and reports all that is
// wrong with it at once.
func (o opener) handedIn(c *config.Config) (*rings, error) {
	r := &rings{}
	refused := &secretsError{dir: cmp.Or(c.SecretSources.Dir, secret.DefaultDir), shared: o.shared}
	take := func(into *keyring.Ring, ring keyring.Ring, err error) {
		*into = ring
		if err != nil {
			refused.problems = append(refused.problems, err)
		}
	}
	sources := c.SecretSources
	open := func(into *keyring.Ring, name string, ref config.SecretRef, needed need) {
		ring, err := o.inward(name, ref, needed)
		take(into, ring, err)
		if isNotFound(err) && needed == unlessManaged {
			refused.missing = true
		}
	}
	salt := unlessManaged
	if o.shared {
		// Replicas find each other's sessions by it, and what Keyway makes itself
		// is sealed under it in the shared store.
		salt = always
	}
	open(&r.tokenHashSalt, nameTokenHashSalt, sources.TokenHashSalt, salt)
	open(&r.uaHashSalt, nameUAHashSalt, sources.UAHashSalt, unlessManaged)
	open(&r.csrfKey, nameCSRFKey, sources.CSRFSecretKey, unlessManaged)
	open(&r.stateKey, nameStateKey, sources.StateTokenKey, unlessManaged)
	open(&r.sessionKey, nameSessionKey, sources.SessionKey, optional)
	clientSecret, err := o.peer(nameClientSecret, c.OIDC.ClientSecret)
	take(&r.clientSecret, clientSecret, err)
	if len(refused.problems) > 0 {
		return nil, refused
	}
	return r, nil
}

// complete makes what was not handed in: in the folder of this replica, and,
// where replicas share a store, as the fleet agrees.
func (r *rings) complete(ctx context.Context, store *keystore.Store, shared *fleet.Rings) error {
	for _, name := range []string{nameTokenHashSalt, nameUAHashSalt, nameCSRFKey, nameStateKey, nameSessionKey} {
		into := r.named(name)
		if !into.IsZero() {
			continue
		}
		ring, err := store.ManagedRing(name)
		if err != nil {
			return err
		}
		if shared != nil {
			if ring, err = shared.Agree(ctx, ring); err != nil {
				return err
			}
			r.agreed = append(r.agreed, name)
		}
		*into = ring
	}
	return nil
}

func isNotFound(err error) bool { return errors.Is(err, secret.ErrNotFound) }
