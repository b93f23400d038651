package jwks

import (
	"errors"
	"math"
	"strconv"
	"time"

	josejson "github.com/go-jose/go-jose/v4/json"
)

// Audience is one string or an array of them (RFC 7519 section 4.1.3).
type Audience []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *Audience) UnmarshalJSON(raw []byte) error {
	var one string
	if josejson.Unmarshal(raw, &one) == nil {
		*a = Audience{one}
		return nil
	}
	var many []string
	if err := josejson.Unmarshal(raw, &many); err != nil {
		return err
	}
	*a = many
	return nil
}

// NumericDate is RFC 7519 section 2's, in seconds, and within years that a clock
// can show: 1e300 is a number, but no date.
type NumericDate float64

const lastSecond = 253402300799 // the end of the year 9999

// UnmarshalJSON implements json.Unmarshaler.
func (d *NumericDate) UnmarshalJSON(raw []byte) error {
	value, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || math.IsNaN(value) || value < 0 || value > lastSecond {
		return errors.New("expected a date")
	}
	*d = NumericDate(value)
	return nil
}

// Time is the date, or the zero time for nil.
func (d *NumericDate) Time() time.Time {
	if d == nil {
		return time.Time{}
	}
	whole, part := math.Modf(float64(*d))
	return time.Unix(int64(whole), int64(part*1e9))
}
