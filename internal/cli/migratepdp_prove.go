package cli

import (
	"errors"
	"reflect"

	"github.com/goccy/go-yaml"
)

// errChanged is that a file says something else than it was to say.
var errChanged = errors.New("the meaning has changed")

// proves reads what is to be written again, and compares: the routes are what they
// were and have the moved mappings besides, pdp.yaml is what it was without them.
func proves(routes, pdp *source, newRoutes, newPDP string, list []*routeAt, moves []*migrateMove) error {
	wantRoutes, err := plain(routes.text)
	if err != nil {
		return err
	}
	wantPDP, err := plain(pdp.text)
	if err != nil {
		return err
	}
	sequence, _ := wantRoutes["routes"].([]any)
	endpoints, _ := wantPDP["endpoint_map"].(map[string]any)
	for _, m := range moves {
		delete(endpoints[m.entry.path].(map[string]any), m.entry.method)
		if m.there {
			continue
		}
		for i, r := range list {
			if r != m.route {
				continue
			}
			entry := sequence[i].(map[string]any)
			mapped, ok := entry["authz_map"].(map[string]any)
			if !ok {
				mapped = make(map[string]any)
				entry["authz_map"] = mapped
			}
			mapped[m.entry.method] = generic(m)
		}
	}
	for path, methods := range endpoints {
		if of, ok := methods.(map[string]any); ok && len(of) == 0 {
			delete(endpoints, path)
		}
	}
	if len(endpoints) == 0 {
		delete(wantPDP, "endpoint_map")
	}
	for _, f := range []struct {
		text string
		want map[string]any
	}{{newRoutes, wantRoutes}, {newPDP, wantPDP}} {
		if _, err := parseSource("", f.text); err != nil {
			return err
		}
		got, err := plain(f.text)
		if err != nil {
			return err
		}
		if !reflect.DeepEqual(got, f.want) {
			return errChanged
		}
	}
	return nil
}

// generic is a mapping as a reader of YAML gets it.
func generic(m *migrateMove) map[string]any {
	out := make(map[string]any)
	list, _ := pairs(m.entry.pair.Value)
	for _, p := range list {
		switch key := keyOf(p); key {
		case "resource":
			out[key] = m.m.Resource
		case "action":
			out[key] = m.m.Action
		case "id_from":
			out[key] = m.m.IDFrom
		case "props":
			props := make(map[string]any)
			for name, value := range m.m.Props {
				props[name] = value
			}
			out[key] = props
		}
	}
	return out
}

// plain is a document as maps and lists. A document of nothing is an empty map.
func plain(text string) (map[string]any, error) {
	out := make(map[string]any)
	if s, err := parseSource("", text); err != nil || s.body == nil {
		return out, err
	}
	err := yaml.Unmarshal([]byte(text), &out)
	return out, err
}
