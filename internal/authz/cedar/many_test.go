package cedar_test

import (
	"fmt"
	"strings"
	"testing"

	"keyway/internal/authz"
)

// What a decision costs with policies that can't hold, and with such that can.
func BenchmarkMany(b *testing.B) {
	for name, one := range map[string]string{
		"of other resources": `permit (principal, action == Action::"read", resource is book) when { resource.shelf == %d };`,
		"of other roles":     `permit (principal in role::"role-%d", action, resource);`,
		"that can hold":      `permit (principal, action == Action::"read", resource is note) when { resource.id == %d };`,
	} {
		for _, n := range []int{1, 100, 1000} {
			var text strings.Builder
			for i := range n {
				fmt.Fprintf(&text, one+"\n", i)
			}
			p := open(b, map[string]string{"a.cedar": text.String()})
			q := ask("ada", "editor", "read", map[string]any{"id": 7})
			q.Prepared, _ = p.Prepare(q.Subject)
			b.Run(fmt.Sprintf("%d %s", n, name), func(b *testing.B) {
				for b.Loop() {
					if _, err := p.Evaluate(b.Context(), q); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
	p := open(b, map[string]string{"a.cedar": notes})
	subject := authz.Entity{Type: "user", ID: "a", Properties: map[string]any{"provider": "p", "sub": "s", "email": "e", "name": "n", "roles": []string{"a", "b"}, "permissions": []string{}, "scopes": []string{}, "auth_time": "2026"}}
	b.Run("preparing", func(b *testing.B) {
		for b.Loop() {
			_, _ = p.Prepare(subject)
		}
	})
}
