package config

import (
	"slices"
	"time"
)

// Rotation is when secrets are rotated, and how carefully.
type Rotation struct {
	Auto    bool                      `yaml:"auto" env:"AUTO_KEY_ROTATION" default:"false" doc:"Rotate by age what Keyway makes. What is handed in is reported as due, and nothing else happens to it."`
	Guard   time.Duration             `yaml:"guard" default:"10m" min:"0s" max:"24h" doc:"How long after an activation refusals are counted against the time before, and lead back to the previous version; 0: not at all."`
	Skew    time.Duration             `yaml:"skew" default:"1m" min:"0s" max:"10m" doc:"How far the clocks of replicas and peers may be apart."`
	Poll    time.Duration             `yaml:"poll" default:"15s" min:"1s" max:"10m" doc:"How often files of secrets are read again, whether or not the system told of a change."`
	Secrets map[string]RotationPolicy `yaml:"secrets" doc:"For single secrets, by the names that keyway status shows: client-secret, client-secret/<entry of idps.yaml>, signing-key, session-key, token-hash-salt, ua-hash-salt, csrf-key, state-key, dpop-key, pdp-client-secret, key-encryption-key."`
}

// RotationPolicy is how one secret is rotated. What [Rotation.For] returns has
// no gaps; a zero means what the key says of it.
type RotationPolicy struct {
	Every    time.Duration `yaml:"every" min:"0s" max:"87600h" doc:"Age at which the active version is due, at least 1m; 0: never. By default 2160h (90 days), and 720h (30 days) for token-hash-salt, ua-hash-salt and csrf-key."`
	Guard    time.Duration `yaml:"guard" min:"0s" max:"24h" doc:"As rotation.guard, which is the default."`
	Lifetime time.Duration `yaml:"lifetime" default:"0s" min:"0s" max:"8760h" doc:"How long a version is kept at most after its last use, if that is longer than what was issued with it can live; 0: by what is issued."`
	Patience time.Duration `yaml:"patience" default:"24h" min:"0s" max:"8760h" doc:"How long a peer may refuse a new version before that is rejected; 0: for ever."`
	Limit    int           `yaml:"limit" default:"5" min:"0" max:"1000000" doc:"How many refusals within the guard window are borne, however few there were before."`
}

// Ages at which secrets are due unless somebody says otherwise: those that
// turn without any peer having to know are cheap to turn.
const (
	dueAfter     = 90 * 24 * time.Hour
	dueSoonAfter = 30 * 24 * time.Hour
	// leastAge keeps a slip (every: 30 for 30 days) from rotating all the time.
	leastAge = time.Minute
)

// secretNames are the rings that a gateway can have, but for those of idps.yaml.
var secretNames = []string{
	"client-secret", "signing-key", "session-key", "token-hash-salt", "ua-hash-salt", "csrf-key", "state-key", "dpop-key", "pdp-client-secret", "key-encryption-key",
}

const idpSecretPrefix = "client-secret/"

// For is the policy of one secret. Every is when it is due: whether Keyway then
// acts is for Auto to say.
func (r Rotation) For(name string) RotationPolicy {
	if p, ok := r.Secrets[name]; ok {
		return p // checkRotation has filled it up
	}
	return r.defaults(name)
}

func (r Rotation) defaults(name string) RotationPolicy {
	p := RotationPolicy{Every: dueAfter, Guard: r.Guard, Patience: 24 * time.Hour, Limit: 5}
	if slices.Contains([]string{"token-hash-salt", "ua-hash-salt", "csrf-key"}, name) {
		p.Every = dueSoonAfter
	}
	return p
}

// checkRotation refuses settings for what is not there, and fills up those of
// what is with what they don't say: 0 is a value here.
func (l *loader) checkRotation() {
	r := &l.settings.Rotation
	known := slices.Clone(secretNames)
	for _, p := range l.idps.IdPs {
		if p.Name != "" && !p.ClientSecret.IsZero() {
			known = append(known, idpSecretPrefix+p.Name)
		}
	}
	for _, name := range sortedKeys(r.Secrets) {
		key := "rotation.secrets." + name
		if !slices.Contains(known, name) {
			l.wrong(SettingsFile, key, "there is no secret "+shown(name), l.whatSecret(name, known))
			continue
		}
		p, defaults := r.Secrets[name], r.defaults(name)
		if !l.given(SettingsFile, key+".every") {
			p.Every = defaults.Every
		}
		if !l.given(SettingsFile, key+".guard") {
			p.Guard = defaults.Guard
		}
		if p.Every > 0 && p.Every < leastAge {
			l.wrong(SettingsFile, key+".every", "found "+p.Every.String(), "expected at least "+leastAge.String()+", or 0 for never; a plain number is of seconds")
		}
		if p.Lifetime > 0 && p.Lifetime < l.settings.Session.Lifetime && slices.Contains([]string{"session-key", "token-hash-salt", "ua-hash-salt", "dpop-key"}, name) {
			l.wrong(SettingsFile, key+".lifetime", "found "+p.Lifetime.String()+", and sessions live for "+l.settings.Session.Lifetime.String(), "at least that, or 0: what was issued must be accepted until it expires")
		}
		r.Secrets[name] = p
	}
}

// whatSecret says which secret an unknown name was meant to be.
func (l *loader) whatSecret(name string, known []string) string {
	for _, p := range l.idps.IdPs {
		if idpSecretPrefix+p.Name == name {
			return "the entry " + shown(p.Name) + " of idps.yaml has no client_secret; give it one, or remove this"
		}
	}
	return "expected " + orList(known) + meant(name, known)
}
