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
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

// Names in a folder. Everything else in it is left alone.
const (
	policySuffix = ".cedar"
	SchemaFile   = "schema.cedarschema"
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

// file is one file of a folder, as it was read.
type file struct {
	name string
	text []byte
}

// read reads the folder's files in their order, and says what they are as a whole.
// Files may be links, as Kubernetes mounts them.
func read(folder string) (files []file, sum [sha256.Size]byte, err error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, sum, fmt.Errorf("policies: %w", err)
	}
	h := sha256.New()
	for _, entry := range entries {
		name := entry.Name()
		if !isOurs(name) {
			continue
		}
		if len(files) == maxFiles {
			return nil, sum, &Error{folder, []string{fmt.Sprintf("expected at most %d files", maxFiles)}}
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
}

// parse takes all of it or nothing.
func parse(folder string, files []file) (*policies, error) {
	p := &policies{by: map[types.PolicyID]*scoped{}}
	var all []*scoped
	wrong := &Error{Folder: folder}
	var validator *validate.Validator
	if i := slices.IndexFunc(files, func(f file) bool { return f.name == SchemaFile }); i >= 0 {
		var err error
		if validator, err = parseSchema(files[i]); err != nil {
			wrong.Problems = append(wrong.Problems, err.Error())
		}
	}
	for _, f := range files {
		if f.name == SchemaFile {
			continue
		}
		list, err := cedar.NewPolicyListFromBytes(f.name, f.text)
		if err != nil {
			wrong.Problems = append(wrong.Problems, f.name+": "+err.Error())
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
				wrong.Problems = append(wrong.Problems, fmt.Sprintf("%s: %s", at(policy), oneLine(err)))
			}
		}
	}
	if len(wrong.Problems) > 0 {
		return nil, wrong
	}
	p.index = newIndex(all)
	return p, nil
}

func parseSchema(f file) (*validate.Validator, error) {
	var s schema.Schema
	s.SetFilename(f.name)
	if err := s.UnmarshalCedar(f.text); err != nil {
		return nil, fmt.Errorf("%s: %s", f.name, oneLine(err))
	}
	resolved, err := s.Resolve()
	if err != nil {
		return nil, fmt.Errorf("%s: %s", f.name, oneLine(err))
	}
	return validate.New(resolved, validate.WithStrict()), nil
}

func at(p *cedar.Policy) string {
	where := p.Position()
	return fmt.Sprintf("%s:%d:%d", where.Filename, where.Line, where.Column)
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
