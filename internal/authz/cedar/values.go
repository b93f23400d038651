package cedar

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/cedar-policy/cedar-go/types"

	"keyway/internal/authz"
	"keyway/internal/jwks"
)

// errValue is what Cedar has no word for.
var errValue = errors.New("a value that Cedar has no type for")

// record is properties as attributes. null is what is not there.
func record(properties map[string]any) (types.Record, error) {
	if len(properties) == 0 {
		return types.Record{}, nil
	}
	attributes := make(types.RecordMap, len(properties))
	for name, property := range properties {
		v, err := value(property)
		if err != nil {
			return types.Record{}, fmt.Errorf("%s: %w", name, err)
		}
		if v != nil {
			attributes[types.String(name)] = v
		}
	}
	return types.NewRecord(attributes), nil
}

func value(of any) (types.Value, error) {
	switch v := of.(type) {
	case nil:
		return nil, nil
	case string:
		return types.String(v), nil
	case bool:
		return types.Boolean(v), nil
	case int:
		return types.Long(v), nil
	case json.Number:
		return number(v.String())
	case jwks.Number:
		return number(v.String())
	case []string:
		set := make([]types.Value, len(v))
		for i, item := range v {
			set[i] = types.String(item)
		}
		return types.NewSet(set...), nil
	case []any:
		set := make([]types.Value, 0, len(v))
		for _, item := range v {
			inner, err := value(item)
			if err != nil {
				return nil, err
			}
			if inner != nil {
				set = append(set, inner)
			}
		}
		return types.NewSet(set...), nil
	case map[string]any:
		return record(v)
	}
	return nil, errValue
}

// number is a Long, or a decimal of at most four places; there are no others.
func number(text string) (types.Value, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return types.Long(n), nil
	}
	d, err := types.ParseDecimal(text)
	if err != nil {
		return nil, errValue
	}
	return d, nil
}

// contextOf is the context in Cedar's types.
func contextOf(c authz.Context) types.Record {
	m := make(types.RecordMap, 3)
	if !c.Time.IsZero() {
		m["time"] = types.NewDatetime(c.Time)
	}
	if c.Address.IsValid() {
		m["ip"] = types.IPAddr(netip.PrefixFrom(c.Address, c.Address.BitLen()))
	}
	if c.CorrelationID != "" {
		m["correlation_id"] = types.String(c.CorrelationID)
	}
	return types.NewRecord(m)
}
