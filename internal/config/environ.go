package config

import (
	"reflect"
	"slices"
	"strings"
)

// environ is a process environment, in the form of os.Environ.
type environ struct {
	vars  map[string]string
	names []string
}

func newEnviron(list []string) environ {
	e := environ{vars: make(map[string]string, len(list))}
	for _, kv := range list {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			continue
		}
		if _, dup := e.vars[name]; !dup {
			e.names = append(e.names, name)
		}
		e.vars[name] = value
	}
	slices.Sort(e.names)
	return e
}

func (e environ) lookup(name string) (string, bool) {
	v, ok := e.vars[name]
	return v, ok
}

// applyEnv lets variables override what the file said. d is the decoder of
// settings.yaml: from here on its marks point at the variables.
func (d *decoder) applyEnv(env environ, v reflect.Value, prefix string) {
	for _, f := range fieldsOf(v.Type()) {
		path, fv := joinKey(prefix, f.key), v.Field(f.index)
		if isGroup(f.typ) {
			d.applyEnv(env, fv, path)
			continue
		}
		for _, name := range f.envs {
			if f.typ == typeSecretRef {
				// Only whether it is there: the value stays where it is.
				if env.vars[name] == "" && env.vars[name+"_FILE"] == "" {
					continue
				}
				fv.Set(reflect.ValueOf(SecretRef{Kind: SecretEnv, Name: name}))
				d.marks[path] = mark{env: name}
				break
			}
			text := strings.TrimSpace(env.vars[name])
			if text == "" {
				continue
			}
			d.forget(path)
			d.marks[path] = mark{env: name}
			d.set(mark{env: name}, path, text, nil, fv, f)
			break
		}
	}
}

// refuseFiles refuses a file for a variable that holds a secret and is not
// looked for in one: it would be ignored, and another store used than was meant.
func (d *decoder) refuseFiles(env environ) {
	walkFields(reflect.TypeFor[Settings](), "", func(path string, f field) {
		for _, name := range f.envs {
			if f.typ == typeRedisURL && env.vars[name+"_FILE"] != "" {
				d.add(mark{env: name + "_FILE"}, path, "a variable that is not read: the URL is not looked for in a file", "set "+name+" itself, from a secret of the platform")
			}
		}
	})
}

// forget drops the marks of list entries that a variable replaces.
func (d *decoder) forget(path string) {
	for p := range d.marks {
		if strings.HasPrefix(p, path+"[") {
			delete(d.marks, p)
		}
	}
}

// otherVars are read elsewhere than in settings.
var otherVars = []string{"BFF_CONFIG_DIR", "KEYWAY_ADMIN"}

// noteTypos notes variables that look like ours, misspelt. They are not errors:
// an environment is shared with others (Kubernetes adds BFF_PORT to it when a
// service is called bff).
func (d *decoder) noteTypos(env environ) {
	known := slices.Clone(otherVars)
	var plain []string // not secrets: they have no _FILE and no _PREVIOUS
	walkFields(reflect.TypeFor[Settings](), "", func(_ string, f field) {
		known = append(known, f.envs...)
		if f.typ != typeSecretRef && f.typ != typeRedisURL {
			plain = append(plain, f.envs...)
		}
	})
	for _, name := range env.names {
		base := strings.TrimSuffix(strings.TrimSuffix(name, "_FILE"), "_PREVIOUS")
		if base != name && slices.Contains(plain, base) {
			d.note(mark{env: name}, "", "no such variable is read: "+base+" is not a secret", "set "+base)
			continue
		}
		if len(base) < 6 || slices.Contains(known, base) || slices.Contains(known, name) {
			continue
		}
		i := slices.IndexFunc(known, func(k string) bool { return len(k) >= 6 && distance(base, k) <= 2 })
		if i >= 0 {
			d.note(mark{env: name}, "", "no such variable is read", "did you mean "+known[i]+"?")
		} else if longer := cutShort(base, known); len(longer) > 0 {
			d.note(mark{env: name}, "", "no such variable is read", "did you mean "+orList(longer)+"?")
		}
	}
}

// cutShort are the known variables of which name has the first words, two at least: a
// single one (REDIS, LOG, SESSION) is anybody's.
func cutShort(name string, known []string) []string {
	if !strings.Contains(strings.Trim(name, "_"), "_") {
		return nil
	}
	var longer []string
	for _, k := range known {
		if strings.HasPrefix(k, name+"_") && !slices.Contains(longer, k) {
			longer = append(longer, k)
		}
	}
	return longer
}
