package keyring

import "time"

// Supersede gives a pending version up in favour of another that is to come, and
// keeps it as retiring: it was published, and a peer may know that one and no
// other. It can't become active any more.
func (r Ring) Supersede(id string, now time.Time) (Ring, error) {
	i := r.index(id)
	if i < 0 || r.versions[i].State != Pending {
		return r.refuse("supersede", id, "expected a pending version, found %s", r.describe(i))
	}
	return r.change(func(versions []Version) {
		v := &versions[i]
		v.State, v.RetiresAt, v.Withdrawn, v.TakesOver = Retiring, now, true, false
	})
}
