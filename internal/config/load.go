package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"keyway/internal/route"
)

// The files of a configuration directory, in the order they are reported.
const (
	SettingsFile = "settings.yaml"
	RoutesFile   = "routes.yaml"
	IdPsFile     = "idps.yaml"
	PDPFile      = "pdp.yaml"
)

var fileNames = []string{SettingsFile, RoutesFile, IdPsFile, PDPFile}

// Config is a whole configuration. Nobody changes it once it is loaded, so it
// may be read from anywhere at once.
type Config struct {
	Settings
	Services map[string]Service
	Routes   *route.Table
	IdPs     []IdP
	PDP      PDP

	Dir   string    // where it was read from
	Files []string  // the files that were there
	Notes []Problem // what is allowed and probably not meant

	asked      map[*route.Route]map[string]Asked // by method
	policiesAt mark
}

// PoliciesAt is a problem with the folder of policies, at the place where it is named:
// it is not read with the configuration.
func (c *Config) PoliciesAt(found, want string) Problem {
	return makeProblem(c.policiesAt, "policies", found, want)
}

// Options says where a configuration is.
type Options struct {
	Dir     string   // --config; empty: BFF_CONFIG_DIR, then ./config
	Environ []string // as os.Environ gives it
}

// ErrNoDir says that the directory that was asked for is not there.
var ErrNoDir = errors.New("no such configuration directory")

// Load reads a configuration. Its error is an *InvalidError with every problem,
// or wraps ErrNoDir when a directory was named and is not there; the default
// directory may be missing.
func Load(o Options) (*Config, error) {
	env := newEnviron(o.Environ)
	dir, named := o.Dir, true
	if dir == "" {
		dir = env.vars["BFF_CONFIG_DIR"]
	}
	if dir == "" {
		dir, named = "config", false
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !named:
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %s", ErrNoDir, dir)
	case err != nil:
		return nil, &InvalidError{[]Problem{{File: dir, Found: "the directory can't be read: " + cause(err)}}}
	}
	l := newLoader(dir, env)
	for _, e := range entries {
		l.strayFile(e.Name())
	}
	files := make(map[string][]byte)
	for _, name := range fileNames {
		data, err := readFile(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist) && !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == name }):
		case errors.Is(err, fs.ErrNotExist):
			// As if it were not there, all of its routes would be gone, and nobody told.
			l.add(mark{file: filepath.Join(dir, name)}, "", "a link to a file that is not there", "mend it, or remove it")
		case err != nil:
			l.add(mark{file: filepath.Join(dir, name)}, "", "the file can't be read: "+cause(err), "")
		default:
			files[name] = data
		}
	}
	return l.load(files)
}

// LoadFiles is Load for files in memory, by name; dir only appears in messages.
func LoadFiles(dir string, files map[string][]byte, environ []string) (*Config, error) {
	return newLoader(dir, newEnviron(environ)).load(files)
}

// readFile reads no more than it takes to see that a file is too large.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFileBytes+1))
}

// cause is an error of the file system without the path, which is said anyway.
func cause(err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

// loader holds what is known while a configuration is read.
type loader struct {
	findings
	dir string
	env environ

	settings Settings
	routes   routesFile
	idps     idpsFile
	pdp      PDP
	table    *route.Table
	asked    map[*route.Route]map[string]Asked

	files   map[string]*decoder // by file name
	present map[string]bool     // the files that are there
}

func newLoader(dir string, env environ) *loader {
	l := &loader{dir: dir, env: env, files: make(map[string]*decoder), present: make(map[string]bool)}
	for _, name := range fileNames {
		path := filepath.Join(dir, name)
		l.findings.files = append(l.findings.files, path)
		l.files[name] = &decoder{findings: &l.findings, file: path, lookup: env.lookup, marks: make(map[string]mark)}
	}
	return l
}

// strayFile refuses a file that was meant to be one of ours. Others are let be:
// a folder may hold what a deployment tool needs.
func (l *loader) strayFile(name string) {
	if slices.Contains(fileNames, name) {
		return
	}
	base, ext, _ := strings.Cut(strings.ToLower(name), ".")
	if ext != "yaml" && ext != "yml" {
		return
	}
	var near []string
	for _, known := range fileNames {
		if distance(base, strings.TrimSuffix(known, ".yaml")) <= 1 {
			near = append(near, known)
		}
	}
	if len(near) > 0 {
		l.add(mark{file: filepath.Join(l.dir, name)}, "", "a file that would not be read", "rename it to "+orList(near))
	}
}

func (l *loader) load(files map[string][]byte) (*Config, error) {
	into := map[string]any{SettingsFile: &l.settings, RoutesFile: &l.routes, IdPsFile: &l.idps, PDPFile: &l.pdp}
	var present []string
	for _, name := range fileNames {
		setDefaults(reflect.ValueOf(into[name]).Elem())
		if data, ok := files[name]; ok {
			present = append(present, name)
			l.present[name] = true
			l.files[name].decodeFile(data, into[name])
		}
	}
	settings := l.files[SettingsFile]
	settings.applyEnv(l.env, reflect.ValueOf(&l.settings).Elem(), "")
	settings.refuseFiles(l.env)
	settings.noteTypos(l.env)
	l.check()
	if len(l.problems) > 0 {
		return nil, &InvalidError{l.sorted(l.problems)}
	}
	return &Config{
		Settings: l.settings, Services: l.routes.Services, Routes: l.table, IdPs: l.idps.IdPs, PDP: l.pdp,
		Dir: l.dir, Files: present, Notes: l.sorted(l.notes), asked: l.asked,
		policiesAt: l.files[PDPFile].at("policies"),
	}, nil
}

// check looks at what only several keys together can tell.
func (l *loader) check() {
	l.checkAvailable() // first: nobody should be helped to complete what then is refused
	l.checkSettings()
	l.checkServices()
	l.checkRoutes()
	l.checkIdPs()
	l.checkBearer()
	l.checkPDP()
}

// wrong reports a problem with a key, unless that key has one already.
func (l *loader) wrong(file, key, found, want string) {
	d := l.files[file]
	if l.broken(file, key) || l.unreadable(file) && !d.has(key) {
		return
	}
	m := d.at(key)
	if m.line == 0 && m.env == "" && file == SettingsFile && !l.present[file] {
		m = l.variable(key, m)
	}
	l.add(m, key, found, want)
}

// variable is the place of a key in the environment, for when there is no file
// to point at; otherwise is what it is if the key has no variable.
func (l *loader) variable(key string, otherwise mark) mark {
	walkFields(reflect.TypeFor[Settings](), "", func(path string, f field) {
		if path == key && len(f.envs) > 0 {
			otherwise = mark{env: f.envs[0]}
		}
	})
	return otherwise
}

// unreadable says whether a file could not be read as a whole, so that what is
// missing from it may only seem so.
func (l *loader) unreadable(file string) bool {
	return slices.ContainsFunc(l.problems, func(p Problem) bool { return p.File == l.files[file].file && p.Key == "" })
}

// broken says whether a key, or what it is in, already has a problem, so that
// its value means nothing.
func (l *loader) broken(file, key string) bool {
	return slices.ContainsFunc(l.problems, func(p Problem) bool {
		if p.File != l.files[file].file && (p.Environment == "" || file != SettingsFile) {
			return false
		}
		return p.Key == key && p.Found != "unknown key"
	})
}

// given says whether a key has a value that is not a default.
func (l *loader) given(file, key string) bool { return l.files[file].has(key) }

// insecure reports plain http beyond loopback below v, wherever a group has
// not allowed it by name.
func (l *loader) insecure(file string, v reflect.Value, path string) {
	allowed := v.FieldByName("AllowInsecureHTTP")
	if allowed.IsValid() && allowed.Bool() {
		key := joinKey(path, "allow_insecure_http")
		l.note(l.files[file].at(key), key, "plain http is allowed here", "whoever is on the network in between can read tokens, and change answers")
	}
	for _, f := range fieldsOf(v.Type()) {
		fv, key := v.Field(f.index), joinKey(path, f.key)
		if isGroup(f.typ) {
			l.insecure(file, fv, key)
			continue
		}
		if f.url == "" || !allowed.IsValid() || allowed.Bool() {
			continue
		}
		var text string
		if s, ok := fv.Interface().(fmt.Stringer); ok && !fv.IsNil() {
			text = s.String()
		} else if fv.Kind() == reflect.String {
			text = fv.String()
		}
		if u, err := parseURL(text, f.url); err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
			l.wrong(file, key, "plain http to a host that is not this machine", "https, or, if the network in between is yours alone, allow_insecure_http: true beside it")
		}
	}
}
