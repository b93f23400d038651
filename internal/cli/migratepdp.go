package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// migrateAnswer is migrate-pdp --json.
type migrateAnswer struct {
	Moved   []migrateMoved `json:"moved"`
	Left    []migrateLeft  `json:"left"`
	Lost    []string       `json:"lost_comments"`
	Written []string       `json:"written"`
}

type migrateMoved struct {
	Path   string `json:"path"`
	Method string `json:"method"`
	Where  string `json:"where"`
	Route  string `json:"route"`
	Source string `json:"source"` // of the route
	There  bool   `json:"there"`  // the route said the same already
}

func newMigratePDPCommand(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate-pdp --routes FILE --pdp FILE --out DIR|FILE",
		Short: "Move the endpoint_map of pdp.yaml into the routes that it is about",
		Long: `Move the entries of pdp.yaml's endpoint_map into the authz_map of the routes that
they are about. What each method of each route is asked stays the same; comments,
order and everything else in both files stay as they are.

An entry that no route has, that more than one has, or that a route contradicts is
listed with the reason, and left. No route gets authz: pdp by this: who has asked
nobody so far does not ask after it.

--out is a folder, in which both files are written under their names, or the file
for the routes; then --pdp-out is the file for the rest of pdp.yaml. The files that
are read are written only if --out and --pdp-out name them.

Exit code 0: nothing is left. 1: entries are left, or (--check) are to be moved.`,
		Example: `  keyway migrate-pdp --routes config/routes.yaml --pdp config/pdp.yaml --check
  keyway migrate-pdp --routes config/routes.yaml --pdp config/pdp.yaml --out new/`,
		Args: exactly(0, "no arguments"),
	}
	flags := cmd.Flags()
	routesName := flags.String("routes", "", "the `file` with the routes")
	pdpName := flags.String("pdp", "", "the `file` with the endpoint_map")
	out := flags.String("out", "", "where to write: a `folder`, or the file for the routes")
	pdpOut := flags.String("pdp-out", "", "the `file` for what is left of pdp.yaml, if --out is a file")
	check := flags.Bool("check", false, "write nothing; say what would be done")
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		switch {
		case *routesName == "" || *pdpName == "":
			return usage("migrate-pdp needs --routes FILE and --pdp FILE")
		case *out == "" && !*check:
			return usage("migrate-pdp needs --out DIR or --out FILE, or --check")
		case *check && (*out != "" || *pdpOut != ""):
			return usage("--check writes nothing, so it takes no --out")
		}
		targets, err := migrateTargets(*routesName, *pdpName, *out, *pdpOut)
		if err != nil {
			return err
		}
		done, err := migrateFiles(*routesName, *pdpName)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return usage("%w", err)
			}
			return &exitError{code: exitNotSo, err: err}
		}
		if !*check {
			if err := done.write(targets); err != nil {
				return &exitError{code: exitNotSo, err: err}
			}
		}
		if *asJSON {
			err = printJSON(s.stdout, done.answer)
		} else {
			err = printMigration(s.stdout, done.answer, *check, targets)
		}
		if err == nil && (len(done.answer.Left) > 0 || *check && len(done.answer.Moved) > 0) {
			err = notSo()
		}
		return err
	}
	return cmd
}

// migration is both files as they were and as they are to be.
type migration struct {
	routes, pdp       *source
	newRoutes, newPDP string
	answer            migrateAnswer
}

// errUnsafe is that no way of writing came out with the meaning that it had.
var errUnsafe = errors.New("the files are written in a way in which nothing can be moved safely: write authz_map and endpoint_map in lines of key: value, and try again. Nothing was written")

func migrateFiles(routesName, pdpName string) (*migration, error) {
	routes, err := readSource(routesName)
	if err != nil {
		return nil, err
	}
	pdp, err := readSource(pdpName)
	if err != nil {
		return nil, err
	}
	return migrate(routes, pdp)
}

func migrate(routes, pdp *source) (*migration, error) {
	d := &migration{routes: routes, pdp: pdp, newRoutes: routes.text, newPDP: pdp.text}
	d.answer = migrateAnswer{Moved: []migrateMoved{}, Left: []migrateLeft{}, Lost: []string{}, Written: []string{}}
	if err := swapped(routes, pdp); err != nil {
		return nil, err
	}
	list, err := readRoutes(routes)
	if err != nil {
		return nil, err
	}
	all, entries, err := readEndpoints(pdp)
	if err != nil {
		return nil, err
	}
	moves, left := planMigration(list, entries)
	d.answer.Left = append(d.answer.Left, left...)
	for _, m := range moves {
		d.answer.Moved = append(d.answer.Moved, migrateMoved{m.entry.path, m.entry.method, m.entry.where, m.route.name, m.route.where, m.there})
	}
	if len(moves) == 0 {
		return d, nil
	}
	for _, how := range manners {
		newRoutes, err := moveInto(routes, pdp, all, moves, how)
		if err != nil {
			continue
		}
		newPDP, err := takeOut(pdp, all, moves)
		if err != nil {
			break
		}
		if proves(routes, pdp, newRoutes, newPDP, list, moves) == nil {
			d.newRoutes, d.newPDP = newRoutes, newPDP
			d.answer.Lost = append(d.answer.Lost, lostComments(routes.text+"\n"+pdp.text, newRoutes+"\n"+newPDP)...)
			return d, nil
		}
	}
	return nil, errUnsafe
}

// lostComments are those of before that are not there after.
func lostComments(before, after string) []string {
	left := make(map[string]int)
	for line := range strings.Lines(after) {
		left[comment(strings.TrimRight(line, "\r\n"))]++
	}
	var lost []string
	for line := range strings.Lines(before) {
		c := comment(strings.TrimRight(line, "\r\n"))
		if c == "" {
			continue
		}
		if left[c]--; left[c] < 0 {
			lost = append(lost, c)
		}
	}
	return lost
}

// targetsOf are the files to write; an empty name is not written.
type migrateOut struct{ routes, pdp string }

func migrateTargets(routes, pdp, out, pdpOut string) (migrateOut, error) {
	if out == "" {
		return migrateOut{}, nil
	}
	info, err := os.Stat(out)
	ext := filepath.Ext(out)
	folder := err == nil && info.IsDir() || strings.HasSuffix(out, "/") || err != nil && ext != ".yaml" && ext != ".yml"
	if !folder {
		if sameFile(out, pdp) || pdpOut != "" && (sameFile(out, pdpOut) || sameFile(pdpOut, routes)) {
			return migrateOut{}, usage("two of the files are one; expected another --out or --pdp-out")
		}
		return migrateOut{out, pdpOut}, nil
	}
	t := migrateOut{filepath.Join(out, filepath.Base(routes)), filepath.Join(out, filepath.Base(pdp))}
	if pdpOut != "" {
		t.pdp = pdpOut
	}
	for _, name := range []string{t.routes, t.pdp} {
		if name != pdpOut && (sameFile(name, routes) || sameFile(name, pdp)) {
			return t, usage("%s would be overwritten; expected another folder, or --out FILE and --pdp-out FILE that name the files", name)
		}
	}
	if sameFile(t.routes, t.pdp) {
		return t, usage("both files would be %s; expected --out FILE and --pdp-out FILE", t.routes)
	}
	return t, nil
}

func sameFile(a, b string) bool {
	if filepath.Clean(a) == filepath.Clean(b) {
		return true
	}
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// write writes the routes first: as long as both have a mapping, the route's counts,
// and it is the same.
func (d *migration) write(t migrateOut) error {
	for _, f := range []struct {
		name, text string
		from       *source
	}{{t.routes, d.newRoutes, d.routes}, {t.pdp, d.newPDP, d.pdp}} {
		if f.name == "" {
			continue
		}
		if err := replaceFile(f.name, f.text, f.from.name); err != nil {
			return err
		}
		d.answer.Written = append(d.answer.Written, f.name)
	}
	return nil
}

// replaceFile writes a file whole or not at all, with the mode of the one that it is
// made from.
func replaceFile(name, text, like string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	info, err := os.Stat(like)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), ".keyway-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(text)
	err = errors.Join(err, tmp.Chmod(info.Mode().Perm()), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), name)
}

func printMigration(w io.Writer, a migrateAnswer, check bool, t migrateOut) error {
	var b strings.Builder
	verb := "moved"
	if check {
		verb = "to move"
	}
	rows := make([][2]string, 0, len(a.Moved))
	for _, m := range a.Moved {
		what := verb + " to route " + m.Route + " (" + m.Source + ")"
		if m.There {
			what = "removed: route " + m.Route + " (" + m.Source + ") says the same"
			if check {
				what = "to remove" + strings.TrimPrefix(what, "removed")
			}
		}
		rows = append(rows, [2]string{fmt.Sprintf("%s %s (%s)", m.Method, m.Path, m.Where), what})
	}
	writeRows(&b, rows)
	if len(a.Left) > 0 {
		fmt.Fprintf(&b, "%s left:\n", count(len(a.Left), "entry", "entries"))
		rows = rows[:0]
		for _, l := range a.Left {
			rows = append(rows, [2]string{fmt.Sprintf("%s %s (%s)", l.Method, l.Path, l.Where), l.Reason})
		}
		writeRows(&b, rows)
	}
	if len(a.Moved)+len(a.Left) == 0 {
		b.WriteString("There is nothing to move: the endpoint_map is empty.\n")
	}
	if len(a.Lost) > 0 {
		fmt.Fprintf(&b, "%s could not be kept:\n", count(len(a.Lost), "comment"))
		for _, c := range a.Lost {
			fmt.Fprintf(&b, "  %s\n", printable(c))
		}
	}
	if len(a.Written) > 0 {
		fmt.Fprintf(&b, "Written: %s.\n", strings.Join(a.Written, ", "))
		if t.pdp == "" && len(a.Moved) > 0 {
			b.WriteString("pdp.yaml stays as it is: its entries are asked after those of the routes, and can go (--pdp-out).\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeRows writes two aligned columns.
func writeRows(b *strings.Builder, rows [][2]string) {
	width := 0
	for _, r := range rows {
		width = max(width, len(r[0]))
	}
	for _, r := range rows {
		fmt.Fprintf(b, "  %-*s  %s\n", width, printable(r[0]), printable(r[1]))
	}
}
