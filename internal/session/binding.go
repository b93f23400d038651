package session

import (
	"net/netip"

	"keyway/internal/seal"
)

// Client is where a request comes from, as far as the gateway believes it:
// forwarding headers of untrusted peers must not have been.
type Client struct {
	Addr      netip.Addr
	UserAgent string
}

// BindingOptions is what a new session is bound to. The zero value is nothing:
// addresses change under way on mobile networks and between IPv4 and IPv6.
type BindingOptions struct {
	PrefixV4  int  // bits of an IPv4 address, 0 for off, such as 24
	PrefixV6  int  // bits of an IPv6 address, 0 for off, such as 56
	UserAgent bool // the User-Agent header, to the letter
}

func (o BindingOptions) off() bool { return o.PrefixV4 == 0 && o.PrefixV6 == 0 && !o.UserAgent }

// bits is how much of addr counts. IPv4 within IPv6 (::ffff:a.b.c.d) is IPv4:
// the same client must look the same on a listener of either family.
func (o BindingOptions) bits(addr netip.Addr) int {
	switch {
	case !addr.IsValid():
		return 0
	case addr.Is4():
		return o.PrefixV4
	default:
		return o.PrefixV6
	}
}

// What is hashed begins with what it is, so that no address can pass for a
// User-Agent.
func prefixInput(addr netip.Addr, bits int) []byte {
	p, err := addr.WithZone("").Prefix(bits)
	if err != nil {
		return []byte("addr\x00")
	}
	return append([]byte("addr\x00"), p.String()...)
}

func uaInput(ua string) []byte { return append([]byte("ua\x00"), ua...) }

// bind makes the binding of a new session.
func bind(h *seal.Hasher, o BindingOptions, c Client) (Binding, error) {
	if o.off() {
		return Binding{}, nil
	}
	b := Binding{Version: h.ActiveVersion()}
	addr := c.Addr.Unmap()
	if bits := o.bits(addr); bits > 0 {
		sum, err := h.Sum(b.Version, prefixInput(addr, bits))
		if err != nil {
			return Binding{}, err
		}
		b.PrefixBits, b.PrefixHash = bits, sum[:]
	}
	if o.UserAgent {
		sum, err := h.Sum(b.Version, uaInput(c.UserAgent))
		if err != nil {
			return Binding{}, err
		}
		b.UAHash = sum[:]
	}
	return b, nil
}

// check compares c with what a session was bound to, as far as that is still
// asked for. How many bits count is what was asked for at sign-in, so that
// changing the option refuses nobody who has not moved.
func (b Binding) check(h *seal.Hasher, o BindingOptions, c Client) error {
	addr := c.Addr.Unmap()
	if b.PrefixHash != nil && (o.PrefixV4 > 0 || o.PrefixV6 > 0) {
		same, err := false, error(nil)
		if addr.IsValid() && b.PrefixBits <= addr.BitLen() {
			same, err = h.Equal(b.Version, prefixInput(addr, b.PrefixBits), b.PrefixHash)
		}
		if err != nil {
			return err
		}
		if !same {
			return &BindingError{Reason: "address"}
		}
	}
	if b.UAHash != nil && o.UserAgent {
		same, err := h.Equal(b.Version, uaInput(c.UserAgent), b.UAHash)
		if err != nil {
			return err
		}
		if !same {
			return &BindingError{Reason: "user_agent"}
		}
	}
	return nil
}
