package redis

import (
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"time"

	"github.com/redis/rueidis"

	"keyway/internal/secret"
)

// Options of Open.
type Options struct {
	// URL is redis:// or rediss:// (TLS), [user:password@]host:port[/db]. With
	// ?master_set=NAME it is of a Sentinel. More addresses, of a cluster or of
	// other Sentinels, follow as &addr=host:port.
	URL     secret.Value
	Prefix  string        // of all keys; "keyway:" if empty
	Timeout time.Duration // of each call; 1 s if 0
	Log     *slog.Logger  // for Redis going and coming back; may be nil
}

const (
	// dialTimeout covers connecting, TLS and the first commands.
	dialTimeout = time.Second
	// pingEvery and pingTimeout end a connection that hangs: the client pings
	// when it has heard nothing for pingEvery.
	pingEvery   = time.Second
	pingTimeout = time.Second
	// topologyEvery is for changes of a cluster or of Sentinel's choice that
	// nobody told of: a demoted master closes no connection.
	topologyEvery = 5 * time.Second
	buffer        = 64 << 10
	// inFlight is below the client's queue (1,024 for a connection), which blocks
	// without regard to deadlines when it is full (redis/rueidis#683).
	inFlight = 512
)

// clientOption must not let the URL into an error: it has the password in it,
// and net/url quotes what it can't parse.
func clientOption(u secret.Value) (rueidis.ClientOption, error) {
	raw := string(u.Reveal())
	parsed, err := url.Parse(raw)
	if err != nil {
		return rueidis.ClientOption{}, errors.New("session store: REDIS_URL is not a URL; " +
			"want redis://[user:password@]host:port[/db], with what is special in the password percent-encoded")
	}
	if !slices.Contains([]string{"redis", "rediss", "valkey", "valkeys", "unix"}, parsed.Scheme) {
		return rueidis.ClientOption{}, errors.New("session store: REDIS_URL has another scheme than redis:// or, for TLS, rediss://")
	}
	o, err := rueidis.ParseURL(raw)
	if err != nil {
		return rueidis.ClientOption{}, errors.New("session store: REDIS_URL can't be used; " +
			"want redis://[user:password@]host:port[/db number][?master_set=NAME][&addr=host:port]")
	}
	if o.AlwaysRESP2 || o.DisableCache {
		return rueidis.ClientOption{}, errors.New("session store: REDIS_URL asks for protocol=2 or client_cache=0, " +
			"but a logout is seen by other replicas through what RESP3 tells of changes")
	}
	o.Dialer.Timeout = dialTimeout
	o.Dialer.KeepAlive = pingEvery
	o.ConnWriteTimeout = pingTimeout
	o.ReadBufferEachConn, o.WriteBufferEachConn = buffer, buffer
	o.ClusterOption.ShardsRefreshInterval = topologyEvery
	o.Sentinel.Dialer = o.Dialer
	o.Sentinel.TLSConfig = o.TLSConfig
	o.Sentinel.TopologyRefreshInterval = topologyEvery
	if o.ClientName == "" {
		o.ClientName = "keyway"
	}
	o.NewCacheStoreFn = func(rueidis.CacheStoreOption) rueidis.CacheStore { return noCache{} }
	return o, nil
}

// noCache makes a cached read of the client a tracked read: it goes to the
// server each time, and has the server tell of the next change.
type noCache struct{}

func (noCache) Flight(string, string, time.Duration, time.Time) (rueidis.RedisMessage, rueidis.CacheEntry) {
	return rueidis.RedisMessage{}, nil
}

// Update returns when the item expires, which the client then says of its answer.
func (noCache) Update(_, _ string, val rueidis.RedisMessage) int64 { return val.CachePXAT() }
func (noCache) Cancel(string, string, error)                       {}
func (noCache) Delete([]rueidis.RedisMessage)                      {}
func (noCache) Close(error)                                        {}
