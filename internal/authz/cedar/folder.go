package cedar

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	expast "github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

// Names in a folder. Everything else in it is left alone.
const (
	policySuffix = ".cedar"
	schemaSuffix = ".cedarschema"
	SchemaFile   = "schema" + schemaSuffix
)

// Bounds of a folder.
const (
	maxFiles    = 200
	maxFile     = 1 << 20
	maxPolicies = 5000
)

// Error is what is wrong with a folder: one line for each problem, with file and
// where in it as far as that is known.
type Error struct {
	Folder   string
	Problems []string
}

func (e *Error) Error() string {
	return "policies in " + e.Folder + ": " + strings.Join(e.Problems, "; ")
}

// file is one file of a folder, as it was read. One that is not going to be parsed is
// there by its name alone.
type file struct {
	name string
	text []byte
}

// isStray reports whether a file was meant as a schema, and would not be read: policies
// would go unchecked, and nobody would know.
func isStray(name string) bool {
	return !strings.HasPrefix(name, ".") && name != SchemaFile && (strings.HasSuffix(name, schemaSuffix) || strings.HasSuffix(name, schemaSuffix+".json"))
}

// read reads the folder's files in their order, and says what they are as a whole.
// Files may be links, as Kubernetes mounts them.
func read(folder string) (files []file, sum [sha256.Size]byte, err error) {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, sum, fmt.Errorf("policies: no folder %s: %w", from(folder), fs.ErrNotExist)
	}
	if err != nil {
		return nil, sum, fmt.Errorf("policies: %w", err)
	}
	h := sha256.New()
	for _, entry := range entries {
		name := entry.Name()
		if isStray(name) {
			fmt.Fprintf(h, "%d %s stray ", len(name), name)
			files = append(files, file{name: name})
			continue
		}
		if !isOurs(name) {
			continue
		}
		if len(files) >= maxFiles { // parse refuses the folder, whatever is in this one
			fmt.Fprintf(h, "%d %s beyond ", len(name), name)
			files = append(files, file{name: name})
			continue
		}
		text, err := readFile(filepath.Join(folder, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was swapped meanwhile; the next look sees it
		}
		if err != nil {
			return nil, sum, fmt.Errorf("policies: %w", err)
		}
		fmt.Fprintf(h, "%d %s %d ", len(name), name, len(text))
		h.Write(text)
		files = append(files, file{name, text})
	}
	return files, [sha256.Size]byte(h.Sum(nil)), nil
}

// from is a folder as it was named, and where that is if it is relative.
func from(folder string) string {
	if filepath.IsAbs(folder) {
		return folder
	}
	if here, err := os.Getwd(); err == nil {
		return folder + " (below " + here + ", the working directory)"
	}
	return folder
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s: expected at most %d bytes", path, maxFile)
	}
	return text, err
}

// policies are all policies of a folder, checked.
type policies struct {
	by    map[types.PolicyID]*scoped
	index index
	known *Known // nil: there is no schema
}

// parse takes all of it or nothing.
func parse(folder string, files []file) (*policies, error) {
	if len(files) > maxFiles {
		return nil, &Error{folder, []string{fmt.Sprintf("expected at most %d files", maxFiles)}}
	}
	p := &policies{by: map[types.PolicyID]*scoped{}}
	var all []*scoped
	wrong := &Error{Folder: folder}
	var validator *validate.Validator
	if i := slices.IndexFunc(files, func(f file) bool { return f.name == SchemaFile }); i >= 0 {
		var err error
		if validator, p.known, err = parseSchema(files[i]); err != nil {
			wrong.Problems = append(wrong.Problems, err.Error())
		}
	}
	for _, f := range files {
		if f.name == SchemaFile {
			continue
		}
		if isStray(f.name) {
			wrong.Problems = append(wrong.Problems, f.name+": a schema that would not be read, so that nothing is checked against it; expected its name to be "+SchemaFile+", in Cedar's own form")
			continue
		}
		list, err := cedar.NewPolicyListFromBytes(f.name, f.text)
		if err != nil {
			wrong.Problems = append(wrong.Problems, syntaxError(f.name, f.text, err))
			continue
		}
		for i, policy := range list {
			id := types.PolicyID(fmt.Sprintf("%s#%d", f.name, i+1))
			if name, ok := policy.Annotations()["id"]; ok && name != "" {
				id = types.PolicyID(name)
			}
			if p.by[id] != nil {
				wrong.Problems = append(wrong.Problems, fmt.Sprintf("%s: the policy id %q is taken", at(policy), id))
			}
			all = append(all, newScoped(id, policy))
			p.by[id] = all[len(all)-1]
			if len(all) > maxPolicies {
				return nil, &Error{folder, []string{fmt.Sprintf("expected at most %d policies", maxPolicies)}}
			}
			if validator == nil {
				continue
			}
			if err := validator.Policy(string(id), (*expast.Policy)(policy.AST())); err != nil {
				wrong.Problems = append(wrong.Problems, fmt.Sprintf("%s: policy %q: %s", at(policy), id, invalid(err, p.known)))
			}
		}
	}
	if len(wrong.Problems) > 0 {
		return nil, wrong
	}
	p.index = newIndex(all)
	return p, nil
}

func parseSchema(f file) (*validate.Validator, *Known, error) {
	var s schema.Schema
	s.SetFilename(f.name)
	err := s.UnmarshalCedar(f.text)
	var all *resolved.Schema
	if err == nil {
		all, err = s.Resolve()
	}
	if err != nil {
		return nil, nil, errors.New(f.name + ":" + strings.TrimPrefix(" "+oneLine(err), " "+f.name+":"))
	}
	return validate.New(all, validate.WithStrict()), &Known{all}, nil
}

func at(p *cedar.Policy) string {
	where := p.Position()
	return fmt.Sprintf("%s:%d:%d", where.Filename, where.Line, where.Column)
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
