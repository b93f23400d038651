package config

import (
	"fmt"

	"keyway/internal/authz"
	"keyway/internal/limit"
)

// checkRates says what a set of rates leaves open.
func (l *loader) checkRates() {
	r := &l.settings.Limits.Rates
	for _, off := range []struct {
		key, means string
		rate       limit.Rate
	}{
		{"sign_in", "one sender can begin as many sign-ins as it likes", r.SignIn},
		{"callback", "one sender can have the provider asked as often as it likes", r.Callback},
		{"backchannel_logout", "one sender can try as many logout tokens as it likes", r.BackchannelLogout},
		{"refused_tokens", "one sender can try as many access tokens as it likes", r.RefusedTokens},
		{"questions", "one user can have the decision point asked as often as they like", r.Questions},
	} {
		if key := "limits.rates." + off.key; off.rate.IsZero() && !l.broken(SettingsFile, key) {
			l.note(l.files[SettingsFile].at(key), key, "no rate: "+off.means, "a rate that real users never reach, such as 6000/1m, unless something in front limits them")
		}
	}
	if n := r.Questions.Count; n > 0 && n < authz.MaxBatch {
		const key = "limits.rates.questions"
		l.note(l.files[SettingsFile].at(key), key, fmt.Sprintf("%s: one request may ask %d questions, and would then be alone for the whole time", r.Questions, authz.MaxBatch), "some thousands a minute: a page asks several for each thing that it shows")
	}
	// Each sign-in comes back once.
	if !r.SignIn.IsZero() && !r.Callback.IsZero() && slower(r.Callback, r.SignIn) {
		const key = "limits.rates.callback"
		l.note(l.files[SettingsFile].at(key), key, "fewer callbacks ("+r.Callback.String()+") than sign-ins ("+r.SignIn.String()+") are let through", "at least the rate of sign_in: users that came so far as to sign in at the provider would be refused")
	}
}

// slower compares what two rates allow for long.
func slower(a, b limit.Rate) bool {
	return float64(a.Count)/float64(a.Per) < float64(b.Count)/float64(b.Per)
}
