package e2e

import (
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"keyway/internal/testkit/redisserver"
)

// dumpRedis is every key and value that a Redis holds, of whatever type.
func dumpRedis(t testing.TB, s *redisserver.Server) string {
	t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{s.Addr()}, Password: redisPassword, DisableCache: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	// DUMP would compress what repeats itself.
	if err := client.Do(t.Context(), client.B().ConfigSet().ParameterValue().ParameterValue("rdbcompression", "no").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	keys, err := client.Do(t.Context(), client.B().Keys().Pattern("*").Build()).AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, key := range keys {
		value, err := client.Do(t.Context(), client.B().Dump().Key(key).Build()).ToString()
		if err != nil && !rueidis.IsRedisNil(err) {
			t.Fatal(err)
		}
		all.WriteString(key + "\n" + value + "\n")
	}
	return all.String()
}
