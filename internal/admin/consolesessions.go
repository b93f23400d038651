package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"
)

const (
	maxSessions = 256              // of the console, at once; the one that was idle longest makes room
	sessionLife = 8 * time.Hour    // of one, whatever is done with it
	sessionIdle = 30 * time.Minute // without anybody doing anything
)

// consoleSession is somebody who signed in at the console.
type consoleSession struct {
	by     string   // for the record
	name   string   // for the page
	token  [32]byte // hash of the token that was in force; another one ends the session
	began  time.Time
	active time.Time
}

// consoleSessions are in memory: a restart ends them all. They are found by the hash of
// their id, so that how long a look-up takes says nothing about ids. It is safe for
// concurrent use.
type consoleSessions struct {
	mu   sync.Mutex
	byID map[[32]byte]*consoleSession
}

// open begins a session, and returns its id: 130 random bits or more.
func (s *consoleSessions) open(one consoleSession, now time.Time) string {
	id := rand.Text()
	one.began, one.active = now, now
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID == nil {
		s.byID = map[[32]byte]*consoleSession{}
	}
	var idlest [32]byte
	for key, other := range s.byID {
		if other.over(now) {
			delete(s.byID, key)
		} else if least := s.byID[idlest]; least == nil || other.active.Before(least.active) {
			idlest = key
		}
	}
	if len(s.byID) >= maxSessions {
		delete(s.byID, idlest)
	}
	s.byID[sha256.Sum256([]byte(id))] = &one
	return id
}

// find is the session with this id, if it lives and was begun under this token.
// touch: somebody does something, and it is not idle.
func (s *consoleSessions) find(id string, token [32]byte, now time.Time, touch bool) (consoleSession, bool) {
	key := sha256.Sum256([]byte(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.byID[key]
	if one == nil {
		return consoleSession{}, false
	}
	if one.over(now) || one.token != token {
		delete(s.byID, key)
		return consoleSession{}, false
	}
	if touch {
		one.active = now
	}
	return *one, true
}

func (s *consoleSessions) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, sha256.Sum256([]byte(id)))
}

func (s *consoleSession) over(now time.Time) bool {
	return now.Sub(s.began) >= sessionLife || now.Sub(s.active) >= sessionIdle
}

const (
	guessesAtOnce = 10              // wrong tokens that one address may show in a row
	guessEvery    = 6 * time.Second // and after that
	maxGuessers   = 1024            // addresses that are remembered; more share one allowance
)

// guesses are how often wrong tokens were shown, by address. Nobody guesses 32
// random bytes; it keeps the log readable, and a weak token from falling at once.
type guesses struct {
	mu   sync.Mutex
	from map[string]time.Time // when the allowance will be whole again
}

// spend takes one guess of what the address has left; give it back for a right one.
func (g *guesses) spend(peer string, now time.Time) (ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.from == nil {
		g.from = map[string]time.Time{}
	}
	if _, known := g.from[peer]; !known && len(g.from) >= maxGuessers {
		for key, whole := range g.from {
			if !whole.After(now) {
				delete(g.from, key)
			}
		}
		if len(g.from) >= maxGuessers {
			peer = ""
		}
	}
	whole := g.from[peer]
	if whole.Before(now) {
		whole = now
	}
	if whole.Add(guessEvery).After(now.Add(guessesAtOnce * guessEvery)) {
		return false
	}
	g.from[peer] = whole.Add(guessEvery)
	return true
}

func (g *guesses) giveBack(peer string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if whole, ok := g.from[peer]; ok {
		g.from[peer] = whole.Add(-guessEvery)
	}
}
