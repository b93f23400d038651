package redis

import (
	"context"
	"time"

	"github.com/redis/rueidis"
)

const (
	probeTimeout = 500 * time.Millisecond
	probeEvery   = 250 * time.Millisecond
)

// lookSoon has the probe see for itself, when a call has failed in a way that
// may be Redis being away.
func (s *Store) lookSoon() {
	select {
	case s.check <- struct{}{}:
	default:
	}
}

func (s *Store) setAway(why error) { s.away.Store(&why) }

// watch looks when asked to, and again and again while Redis is away.
func (s *Store) watch() {
	retry := time.NewTicker(probeEvery)
	defer retry.Stop()
	for {
		if s.away.Load() == nil {
			select {
			case <-s.stop:
				return
			case <-s.check:
			}
		} else {
			select {
			case <-s.stop:
				return
			case <-retry.C:
			}
		}
		s.contained(func() { _ = s.look() })
	}
}

// look connects, or asks whether Redis answers, and sets away accordingly.
func (s *Store) look() error {
	was := s.away.Load()
	err := s.ask()
	switch {
	case err != nil:
		s.setAway(err)
		if was == nil {
			s.log.Warn("redis does not answer; sessions are unavailable", "error", err.Error())
		}
	case was != nil:
		// Nobody has told us of what changed meanwhile.
		s.tell(nil, true)
		s.away.Store(nil)
		s.connectionLost()
		s.log.Info("redis answers")
	}
	return err
}

func (s *Store) ask() error {
	c := s.client.Load()
	if c == nil {
		made, err := rueidis.NewClient(s.option) // bounded by dialTimeout for each address
		if err != nil {
			return explainDial(explain(err, 0), s.option.TLSConfig != nil)
		}
		c = &made
		s.client.Store(c)
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	err := ping(ctx, *c)
	cancel()
	if err == nil {
		return nil
	}
	// Of a cluster, any node that answers keeps the others' sessions usable.
	nodes := (*c).Nodes()
	if len(nodes) < 2 {
		return explain(err, probeTimeout)
	}
	if s.anyAnswers(nodes) {
		return nil
	}
	return explain(err, probeTimeout)
}

func (s *Store) anyAnswers(nodes map[string]rueidis.Client) bool {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	answers := make(chan error, len(nodes))
	for _, node := range nodes {
		go func() {
			err := errDefect // unless ping returns
			s.contained(func() { err = ping(ctx, node) })
			answers <- err
		}()
	}
	for range nodes {
		if answer := <-answers; answer == nil {
			return true
		}
	}
	return false
}

// ping takes an error that Redis answers with for what it is: an answer that it
// can't be used.
func ping(ctx context.Context, c rueidis.Client) error {
	return c.Do(ctx, c.B().Ping().Build()).Error()
}
