package redis

import (
	"testing"
	"time"

	"keyway/internal/session"
)

func TestGravesAreFewAndShort(t *testing.T) {
	var g graves
	now := time.Now()
	key := func(i int) session.Key { return session.Key{byte(i), byte(i >> 8), byte(i >> 16)} }
	for i := range 3 * maxGraves {
		g.add(key(i), now)
	}
	keys := g.recent(now)
	if len(keys) > maxGraves || keys[len(keys)-1] != key(3*maxGraves-1) {
		t.Errorf("%d graves, the last %s; want at most %d, the last one made", len(keys), keys[len(keys)-1], maxGraves)
	}
	g.add(key(1), now.Add(graveFor+time.Second))
	if keys := g.recent(now.Add(graveFor + time.Second)); len(keys) != 1 {
		t.Errorf("%d graves after the others' time, want 1", len(keys))
	}
	if len(g.keys) != 1 {
		t.Errorf("%d kept", len(g.keys))
	}
}
