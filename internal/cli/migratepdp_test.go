package cli

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"keyway/internal/config"
	"keyway/internal/route"
)

// yamlWriter writes the same mappings in the ways in which people do.
type yamlWriter struct {
	r *rand.Rand
	b strings.Builder
}

func (w *yamlWriter) one(choices ...string) string { return choices[w.r.IntN(len(choices))] }

func (w *yamlWriter) quoted(text string) string {
	if strings.ContainsAny(text, "{?$*") {
		return w.one(`"`+text+`"`, `'`+text+`'`)
	}
	return w.one(text, `"`+text+`"`, `'`+text+`'`)
}

func (w *yamlWriter) remark() string {
	return w.one("", "", "", " # it's \"so\"", "   # ä: {b}", " #")
}

func (w *yamlWriter) comments(indent string) {
	for range max(0, w.r.IntN(4)-2) {
		w.b.WriteString(w.one(indent+"# above", indent+"# - x: y", "# far left", "", indent+"   # deep") + "\n")
	}
}

// fields are a mapping's keys and values, as pairs.
func (w *yamlWriter) fields(source string) [][2]string {
	out := [][2]string{{"resource", w.quoted(w.one("note", "file"))}, {"action", w.quoted(w.one("read", "list", "on"))}}
	if w.r.IntN(2) == 0 {
		out = append(out, [2]string{"id_from", w.quoted(w.one(source, "?id", "$.a.b"))})
	}
	if out[1][1] == "on" {
		out[1][1] = `"on"`
	}
	if w.r.IntN(3) == 0 {
		out = append(out, [2]string{"props", "{a: " + w.quoted(source) + ", 'b': web}"})
	}
	return out
}

func (w *yamlWriter) flow(source string) string {
	var parts []string
	for _, f := range w.fields(source) {
		parts = append(parts, f[0]+": "+f[1])
	}
	return "{" + strings.Join(parts, w.one(", ", ",")+w.one("", " ")) + w.one("", ",", " ") + "}"
}

// methods writes mappings by method below a key that is written already.
func (w *yamlWriter) methods(indent, source string, methods []string) {
	if w.r.IntN(3) == 0 {
		var parts []string
		for _, m := range methods {
			parts = append(parts, w.one(m, `"`+m+`"`)+": "+w.flow(source))
		}
		w.b.WriteString(" {" + strings.Join(parts, w.one(", ", ",\n"+indent+"    ")) + w.one("", ",") + "}" + w.remark() + "\n")
		return
	}
	w.b.WriteString(w.remark() + "\n")
	step := w.one("  ", "    ")
	for _, m := range methods {
		w.comments(indent + step)
		w.b.WriteString(indent + step + w.one(m, "'"+m+"'") + ":")
		if w.r.IntN(2) == 0 {
			w.b.WriteString(" " + w.flow(source) + w.remark() + "\n")
			continue
		}
		w.b.WriteString(w.remark() + "\n")
		for _, f := range w.fields(source) {
			w.comments(indent + step + "  ")
			w.b.WriteString(indent + step + "  " + f[0] + ": " + f[1] + w.remark() + "\n")
		}
	}
}

func (w *yamlWriter) some(from []string) []string {
	out := slices.Clone(from)
	w.r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:1+w.r.IntN(len(out))]
}

var migratePaths = [][3]string{ // of routes, of entries, and a source
	{"/a", "/a", "?x"}, {"/b/{id}", "/b/{nr}", "{nr}"}, {"/c/{id}/*", "/c/{id}/*", "{id}"}, {"/d/e", "/d/{x}", "?x"}, {"/f/*", "/f/{x}", "{x}"}, {"/g/ä", "/g/*", "?x"},
}

func randomFiles(seed uint64) (routes, pdp string) {
	w := &yamlWriter{r: rand.New(rand.NewPCG(seed, 6))}
	w.b.WriteString("# routes\nservices: {s: {base_url: \"https://s.internal\"}}\nroutes:\n")
	dash := w.one("", "  ")
	for i, p := range migratePaths {
		w.comments(dash)
		methods := w.some([]string{"GET", "POST", "PUT", "DELETE"})
		authz := w.one("pdp", "pdp", "pdp", `"pdp"`, "none")
		source := strings.ReplaceAll(p[2], "nr", "id")
		if i == 3 || i == 4 {
			source = "?x"
		}
		if w.r.IntN(4) == 0 {
			mapped := ""
			if authz != "none" && w.r.IntN(2) == 0 {
				mapped = ", authz_map: {" + methods[0] + ": " + w.flow(source) + "}"
			}
			fmt.Fprintf(&w.b, "%s- {path: %s, methods: [%s], authz: %s%s, target_service: s}%s\n", dash, w.quoted(p[0]), strings.Join(methods, ", "), authz, mapped, w.remark())
			continue
		}
		fmt.Fprintf(&w.b, "%s- id: r%d%s\n%s  path: %s\n%s  authz: %s%s\n", dash, i, w.remark(), dash, w.quoted(p[0]), dash, authz, w.remark())
		if authz != "none" && w.r.IntN(2) == 0 {
			w.b.WriteString(dash + "  authz_map:")
			w.methods(dash+"  ", source, w.some(methods))
		}
		w.comments(dash + "  ")
		fmt.Fprintf(&w.b, "%s  methods: [%s]\n%s  target_service: s%s\n", dash, strings.Join(methods, ","), dash, w.remark())
	}
	routes = w.b.String()
	w.b.Reset()
	w.b.WriteString("policies: p\n\n# old\nendpoint_map:" + w.remark() + "\n")
	for _, p := range migratePaths {
		if w.r.IntN(4) == 0 {
			continue
		}
		w.comments("  ")
		w.b.WriteString("  " + w.quoted(p[1]) + ":")
		w.methods("  ", p[2], w.some([]string{"GET", "HEAD", "POST", "PUT"}))
	}
	w.b.WriteString("  /z: {GET: {resource: z, action: read}}\n" + w.one("", "\n") + w.one("", "subject_id: sub\n", "# end", "derived_defaults: true"))
	pdp = w.b.String()
	if w.r.IntN(3) == 0 {
		routes = strings.ReplaceAll(routes, "\n", "\r\n")
	}
	if w.r.IntN(3) == 0 {
		pdp = strings.ReplaceAll(pdp, "\n", "\r\n")
	}
	return routes, pdp
}

// askedOfAll is what each method of each route is asked, as the gateway takes it.
func askedOfAll(routes, pdp string) (map[string]route.Mapping, error) {
	cfg, err := config.LoadFiles("c", map[string][]byte{"routes.yaml": []byte(routes), "pdp.yaml": []byte(pdp)},
		[]string{"OIDC_ISSUER=https://id.example.com", "AUTH_CLIENT_ID=keyway", "BFF_DEFAULT_HOST=app.example.com"})
	if err != nil {
		return nil, err
	}
	out := make(map[string]route.Mapping)
	for _, r := range cfg.Routes.Routes() {
		for _, method := range r.EffectiveMethods() {
			if a, ok := cfg.Asked(r, method); ok {
				out[method+" "+r.Path] = a.Mapping
			}
		}
	}
	return out, nil
}

// However the files are written, what is asked stays what it was; a second time
// nothing is moved; no comment is lost without a word.
func TestMigrationKeepsTheMeaning(t *testing.T) {
	loaded, moved, refused := 0, 0, 0
	for seed := range uint64(100) {
		routes, pdp := randomFiles(seed)
		r, err := parseSource("routes.yaml", routes)
		if err != nil {
			t.Fatalf("%d: %v\n%s", seed, err, routes)
		}
		p, err := parseSource("pdp.yaml", pdp)
		if err != nil {
			t.Fatalf("%d: %v\n%s", seed, err, pdp)
		}
		d, err := migrate(r, p)
		if err != nil {
			refused++
			if refused < 3 {
				t.Logf("%d: %v\n%s\n%s", seed, err, routes, pdp)
			}
			continue
		}
		moved += len(d.answer.Moved)
		if crlf := strings.Contains(routes, "\r\n"); crlf && strings.Count(d.newRoutes, "\n") != strings.Count(d.newRoutes, "\r\n") {
			t.Errorf("%d: other line breaks\n%q", seed, d.newRoutes)
		}
		if before, err := askedOfAll(routes, pdp); err == nil {
			loaded++
			after, err := askedOfAll(d.newRoutes, d.newPDP)
			if err != nil || !reflect.DeepEqual(before, after) {
				t.Errorf("%d: %v\nbefore %v\nafter  %v\n%s\n%s\n---\n%s\n%s", seed, err, before, after, routes, pdp, d.newRoutes, d.newPDP)
			}
		}
		r2, err := parseSource("routes.yaml", d.newRoutes)
		if err != nil {
			t.Fatal(err)
		}
		p2, err := parseSource("pdp.yaml", d.newPDP)
		if err != nil {
			t.Fatal(err)
		}
		again, err := migrate(r2, p2)
		if err != nil || len(again.answer.Moved) > 0 || again.newRoutes != d.newRoutes || again.newPDP != d.newPDP {
			t.Errorf("%d: a second time: %v, %v", seed, err, again)
		}
	}
	t.Logf("%d loaded, %d entries moved, %d refused", loaded, moved, refused)
	if loaded < 20 || moved < 150 || refused > 2 {
		t.Errorf("too little is tested: %d loaded, %d moved, %d refused", loaded, moved, refused)
	}
}

// Whatever the files are, nothing falls over, and what is written can be read again.
func FuzzMigratePDP(f *testing.F) {
	for seed := range uint64(4) {
		routes, pdp := randomFiles(seed)
		f.Add(routes, pdp)
	}
	f.Add("{routes: [{path: /a, authz: pdp}]}", "{endpoint_map: {/a: {GET: {resource: a, action: b}}}}")
	f.Add("routes:\n- path: /a\n  authz: |\n    pdp\n", "endpoint_map:\n  /a:\n    GET: {resource: a,\n      action: b}\n")
	f.Fuzz(func(t *testing.T, routes, pdp string) {
		r, err := parseSource("routes.yaml", routes)
		if err != nil {
			return
		}
		p, err := parseSource("pdp.yaml", pdp)
		if err != nil {
			return
		}
		d, err := migrate(r, p)
		if err != nil {
			return
		}
		if _, err := parseSource("", d.newRoutes); err != nil {
			t.Errorf("%v\n%s", err, d.newRoutes)
		}
		if _, err := parseSource("", d.newPDP); err != nil {
			t.Errorf("%v\n%s", err, d.newPDP)
		}
	})
}
