package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"time"

	"keyway/internal/jwks"
	"keyway/internal/keyring"
)

// keys are about what we publish.
func (i inside) keys() []step {
	if i.JWKS == nil {
		return nil
	}
	of := []string{i.SigningKey}
	steps := []step{{"jwks.served", "key set, as this replica serves it", of, func(context.Context) finding {
		a, p := i.served()
		if a.Code != http.StatusOK {
			return bad("this replica answers %d", a.Code).because("a defect of Keyway, or no signing key", "Look at its log.")
		}
		f := p.check(a.Body.Bytes())
		if !f.ok && f.cause == "" {
			f = f.because("this replica serves another key set than its rings say", "Look at its log for 'the fleet's secrets can't be used', and restart it.")
		}
		if f.ok {
			f = p.caching(answer{header: a.Header()}, f)
		}
		return f
	}}}
	return append(steps, step{"jwks.public", "key set at the public address", of, func(ctx context.Context) finding {
		if i.Deployment.Public == "" {
			return skip("no public address is configured (BFF_CALLBACK_URL)")
		}
		return publicKeys(ctx, i.HTTP, i.Deployment.Public, func() published { _, p := i.served(); return p })
	}})
}

// served is our own answer, and what has to be in it.
func (i inside) served() (*httptest.ResponseRecorder, published) {
	r := httptest.NewRequest(http.MethodGet, jwks.Path, nil)
	r.Header.Set("User-Agent", userAgent)
	w := httptest.NewRecorder()
	i.JWKS.ServeHTTP(w, r)
	p := published{etag: w.Header().Get("ETag"), maxAge: i.MaxAge}
	if ring := i.Rings()[i.SigningKey]; !ring.IsZero() {
		p.active = ring.Active().ID
		for v := range ring.Live() {
			p.live = append(p.live, v.ID)
		}
	}
	return w, p
}

// seals have something issued by each live version, and by versions that are over.
func (i inside) seals() []step {
	var steps []step
	for _, seal := range i.Seals {
		steps = append(steps, step{"issued." + seal.Secret, seal.What, []string{seal.Secret}, func(context.Context) finding {
			return i.seal(seal)
		}})
	}
	return steps
}

func (i inside) seal(seal Seal) finding {
	ring := i.Rings()[seal.Secret]
	if ring.IsZero() {
		return skip("there is no %s", seal.Secret)
	}
	var accepted, refused []string
	for v := range ring.Live() {
		if err := trial(seal, ring, v); err != nil {
			f := bad("what %s issues is refused: %v", v.ID, err).because("a defect of Keyway: "+seal.Secret+" "+v.ID+" does not open what it sealed", "Go back with: keyway rollback "+seal.Secret+", and report it.")
			if v.ID == ring.Active().ID {
				f = f.refusing(v.ID)
				if previous, ok := ring.Previous(); ok && trial(seal, ring, previous) == nil {
					f.spares = previous.ID
				}
			}
			return f
		}
		accepted = append(accepted, v.ID)
	}
	for v := range ring.All() {
		if v.State.Live() {
			continue
		}
		v.Value = ring.Active().Value // its own is erased: any other is as good for what has to be refused
		if err := trial(seal, ring, v); !errors.Is(err, keyring.ErrRetired) {
			return bad("what %s %s issued is not refused as over: %v", v.State, v.ID, err).because("a defect of Keyway: a version that is over is still accepted", "Please report it.")
		}
		refused = append(refused, v.ID)
	}
	if len(refused) == 0 {
		return good("accepted from %s", list(accepted))
	}
	shown := refused[max(0, len(refused)-3):]
	return good("accepted from %s; refused from %s that ended (%s)", list(accepted), many(len(refused), "version"), list(shown))
}

// trial issues by one version of a ring alone, and has the whole ring check it.
func trial(seal Seal, ring keyring.Ring, v keyring.Version) error {
	v.State, v.Withdrawn, v.Compromised, v.Exposed, v.TakesOver = keyring.Active, false, false, false, false
	alone, err := keyring.New(ring.Name(), v)
	if err != nil {
		return err
	}
	check, err := seal.Issue(alone)
	if err != nil {
		return err
	}
	return check(ring)
}

// sources are the files and variables in which secrets are handed in here.
func (i inside) sources() []step {
	if i.Sources == nil {
		return nil
	}
	of := i.names(i.HandedIn)
	return []step{{"sources", "where secrets are handed in", of, func(context.Context) finding {
		troubles := i.Sources()
		if len(troubles) == 0 {
			return good("%s read, none has trouble", many(len(of), "secret"))
		}
		var told []string
		for _, name := range slices.Sorted(maps.Keys(troubles)) {
			told = append(told, name+": "+troubles[name])
		}
		return bad("%s", strings.Join(told, "; ")).because("a file or variable that hands a secret in can't be used; the last good value stays in use, until this process is started again",
			"Put a whole value there again, readable for this process.")
	}}}
}

func (i inside) store() []step {
	if i.Store == nil {
		return nil
	}
	return []step{{"store", "session store", nil, func(ctx context.Context) finding {
		began := time.Now()
		err := i.Store.Ping(ctx)
		if err == nil {
			err = i.Store.RoundTrip(ctx)
		}
		if err != nil {
			return bad("%v", err).because("the session store is away, full, or refuses to write: nobody signs in, and nothing is rotated, until it is back",
				"See that it runs, that this machine reaches it, and that it has memory or disk left. Sessions are not lost by this.")
		}
		return good("written to and read in %d ms", time.Since(began).Milliseconds())
	}}}
}

const (
	// waitsLong is how long a version may be pending before somebody should know.
	waitsLong = 10 * time.Minute
	// dueLong is how late a rotation by age, or an end, may be.
	dueLong = time.Hour
)

func (i inside) turning() []step {
	if i.Turning == nil {
		return nil
	}
	return []step{{"rotations", "rotations", slices.Sorted(maps.Keys(i.Rings())), func(ctx context.Context) finding {
		all, err := i.Turning(ctx)
		if err != nil {
			return bad("what is under way can't be read: %v", err).because("the store of the fleet's rings is away", "See the check of the session store.")
		}
		now := time.Now()
		var late, causes, cures, waiting []string
		for _, t := range all {
			if len(i.o.Secrets) > 0 && !slices.Contains(i.o.Secrets, t.Secret) {
				continue
			}
			since := now.Sub(t.Since)
			switch {
			case t.Pending == "" && t.Operator != "":
				late, causes = append(late, t.Secret+" has to be turned by a person"), append(causes, t.Secret+" is older than it should be, and only who hands it in can make a new one")
				cures = append(cures, t.Operator)
			case t.Pending != "" && since > waitsLong:
				text := fmt.Sprintf("%s: %s is pending since %s (%s)", t.Secret, t.Pending, at(t.Since, now), span(since))
				late, causes = append(late, text), append(causes, cause(t))
				cures = append(cures, "look at 'keyway status', or give it up: keyway rollback "+t.Secret)
			case t.Pending != "":
				waiting = append(waiting, t.Secret+" "+t.Pending)
			}
			if !t.Due.IsZero() && now.Sub(t.Due) > dueLong {
				late = append(late, fmt.Sprintf("%s was due at %s", t.Secret, at(t.Due, now)))
				causes = append(causes, "nobody moves rings, or a new value can't be made")
				cures = append(cures, "begin it with keyway rotate "+t.Secret+", which says why if it can't")
			}
			for _, id := range slices.Sorted(maps.Keys(t.Overdue)) {
				if end := t.Overdue[id]; now.Sub(end) > dueLong {
					late = append(late, fmt.Sprintf("%s: %s should have ended at %s", t.Secret, id, at(end, now)))
					causes = append(causes, "something depends on it still, or nobody moves rings")
					cures = append(cures, "'keyway status' says what depends on it")
				}
			}
		}
		switch {
		case len(late) > 0:
			return bad("%s", strings.Join(late, "; ")).because(strings.Join(unique(causes), "; "), sentence(strings.Join(unique(cures), "; ")))
		case len(waiting) > 0:
			return good("under way: %s", list(waiting))
		}
		return good("nothing waits, nothing is overdue")
	}}}
}

func cause(t Turning) string {
	text := t.Waiting
	if text == "" {
		text = "it is not said what it waits for"
	}
	if len(t.Blocked) > 0 {
		text += " (held up by " + list(t.Blocked) + ")"
	}
	return text
}

func unique(of []string) []string {
	var all []string
	for _, one := range of {
		if !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	return all
}

func sentence(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// adminSide looks whether what is for operators can be had at the public address.
func (i inside) adminSide() []step {
	return []step{{"admin.hidden", "admin side, from the public address", nil, func(ctx context.Context) finding {
		if i.Deployment.Public == "" {
			return skip("no public address is configured")
		}
		f := exposed(ctx, i.HTTP, i.Deployment.Public)
		if !f.ok {
			return f
		}
		u, err := url.Parse(i.Deployment.Public)
		_, port, splitErr := net.SplitHostPort(i.AdminAddr)
		if err != nil || splitErr != nil || isLoopback(u.Host) {
			return f
		}
		// The listener itself, at the public name.
		address := "http://" + net.JoinHostPort(u.Hostname(), port)
		if a, err := fetch(ctx, i.HTTP, http.MethodGet, address+"/admin/v1/status"); err == nil && adminTrace(a) {
			return bad("the admin listener answers at %s", address).
				because("port "+port+" is open on the public name", "Bind BFF_ADMIN_ADDR to loopback or to the operators' network, or close the port in the firewall.")
		}
		return f
	}}}
}
