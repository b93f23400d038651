package limit

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// Rate is how often something may be done. The zero Rate is no limit.
type Rate struct {
	Count int           // at least 1
	Per   time.Duration // 1 s to 24 h
}

// Bounds of a Rate.
const (
	MaxCount = 1_000_000
	MinPer   = time.Second
	MaxPer   = 24 * time.Hour
)

var errRate = errors.New("expected a number and a time, as in 30/1m, or off")

// ParseRate reads "30/1m", or "off".
func ParseRate(text string) (Rate, error) {
	if text == "off" {
		return Rate{}, nil
	}
	count, per, ok := strings.Cut(text, "/")
	if !ok {
		return Rate{}, errRate
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > MaxCount {
		return Rate{}, errRate
	}
	d, err := time.ParseDuration(per)
	if err != nil || d < MinPer || d > MaxPer {
		return Rate{}, errRate
	}
	return Rate{Count: n, Per: d}, nil
}

// IsZero reports whether there is no limit.
func (r Rate) IsZero() bool { return r.Count == 0 }

// String is what ParseRate reads.
func (r Rate) String() string {
	if r.IsZero() {
		return "off"
	}
	// As people write it: 1m, not 1m0s.
	per := r.Per.String()
	if strings.HasSuffix(per, "m0s") {
		per = strings.TrimSuffix(per, "0s")
	}
	if strings.HasSuffix(per, "h0m") {
		per = strings.TrimSuffix(per, "0m")
	}
	return strconv.Itoa(r.Count) + "/" + per
}
