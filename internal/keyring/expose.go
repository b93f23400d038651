package keyring

// Expose notes that somebody else may have the value of a live version, while
// there is nothing yet to put in its place: as when only a person can hand in the
// next. From now on, until it has ended, whatever comes next takes over without
// overlap. It is kept in the ring, sealed like the values, because nobody may
// forge or lose it who can write to the store.
func (r Ring) Expose(id string) (Ring, error) {
	i := r.index(id)
	if i < 0 || !r.versions[i].State.Live() {
		return r.refuse("expose", id, "expected a live version, found %s", r.describe(i))
	}
	return r.change(func(versions []Version) { versions[i].Exposed = true })
}

// Urgent reports whether the version that comes next takes over without overlap:
// the pending one was to, or one that lives is exposed.
func (r Ring) Urgent() bool {
	for v := range r.Live() {
		if v.Exposed || v.TakesOver {
			return true
		}
	}
	return false
}
