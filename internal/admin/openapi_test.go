package admin

import (
	"bytes"
	"encoding/json"
	"mime"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"keyway/internal/audit"
	"keyway/internal/rotation"
	"keyway/internal/telemetry"
	"keyway/internal/verify"
)

// document is openapi.json, parsed once.
var document = sync.OnceValues(func() (map[string]any, error) {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(openAPI))
	doc, _ := v.(map[string]any)
	return doc, err
})

func parsed(t *testing.T) map[string]any {
	t.Helper()
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// into walks down a parsed document; nil if there is nothing.
func into(v any, path ...string) any {
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

func schemaAt(t *testing.T, pointer string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("openapi.json", parsed(t)); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("openapi.json#" + pointer)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// conforms holds one answer against the document: path, method, status, media
// type and body.
func conforms(t *testing.T, method, path string, a answer) {
	t.Helper()
	doc := parsed(t)
	if strings.HasPrefix(path, Prefix+sessionsPrefix) {
		path = Prefix + oneSession
	}
	operations := into(doc, "paths", path)
	if method == "HEAD" {
		method = "GET"
	}
	operation := into(operations, strings.ToLower(method))
	pointer := "/components/schemas/Problem" // what no path describes: 404 and 405
	media, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if operation != nil {
		response := into(operation, "responses", strconv.Itoa(a.StatusCode))
		if response == nil {
			t.Errorf("%s %s: the document has no status %d", method, path, a.StatusCode)
			return
		}
		pointer = "/paths/" + strings.NewReplacer("/", "~1", "{", "%7B", "}", "%7D").Replace(path) + "/" + strings.ToLower(method) + "/responses/" + strconv.Itoa(a.StatusCode)
		if ref, ok := into(response, "$ref").(string); ok {
			pointer = strings.TrimPrefix(ref, "#")
			response = into(doc, strings.Split(strings.TrimPrefix(pointer, "/"), "/")...)
		}
		if into(response, "content") == nil {
			if a.text != "" {
				t.Errorf("%s %s %d: expected no body, found %s", method, path, a.StatusCode, a.text)
			}
			return
		}
		if into(response, "content", media) == nil {
			t.Errorf("%s %s %d: the document has no media type %q", method, path, a.StatusCode, media)
			return
		}
		pointer += "/content/" + strings.ReplaceAll(media, "/", "~1") + "/schema"
	}
	if a.Request.Method == "HEAD" {
		return
	}
	body, err := jsonschema.UnmarshalJSON(strings.NewReader(a.text))
	if err != nil {
		t.Errorf("%s %s %d: not JSON: %s", method, path, a.StatusCode, a.text)
		return
	}
	if err := schemaAt(t, pointer).Validate(body); err != nil {
		t.Errorf("%s %s %d: %v", method, path, a.StatusCode, err)
	}
}

// Every field that a type can have is described, and nothing else.
func TestDocumentHasEveryField(t *testing.T) {
	for name, v := range map[string]any{
		"Status": Status{}, "Secret": SecretStatus{}, "Version": VersionStatus{}, "Replica": ReplicaStatus{}, "Plan": Plan{},
		"Rotation": rotation.Rotation{}, "Step": rotation.Step{}, "Problem": Problem{}, "Rotations": rotationsAnswer{}, "Plans": plansAnswer{},
		"Report": verify.Report{}, "Check": verify.Check{}, "AuditPage": audit.Page{}, "AuditHead": audit.Head{},
		"Series": seriesAnswer{}, "Point": telemetry.Point{}, "LoadState": loadState{},
		"Sessions": SessionsAnswer{}, "Session": Session{}, "Ended": EndedAnswer{},
		"Deployment": verify.Deployment{}, "Route": verify.Route{},
	} {
		var fields []string
		for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
			tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if tag != "-" {
				fields = append(fields, tag)
			}
		}
		if name == "Rotation" {
			fields = append(fields, "took_ms")
		}
		properties, _ := into(parsed(t), "components", "schemas", name, "properties").(map[string]any)
		for _, f := range fields {
			if properties[f] == nil {
				t.Errorf("%s: %s is not described", name, f)
			}
		}
		for p := range properties {
			if !slices.Contains(fields, p) {
				t.Errorf("%s: %s is described, and does not exist", name, p)
			}
		}
	}
}

// Every path and method that is described is there, and the other way round.
func TestDocumentHasEveryPath(t *testing.T) {
	h := New(Options{})
	paths, _ := into(parsed(t), "paths").(map[string]any)
	for path, operations := range paths {
		methods := h.paths[strings.TrimPrefix(path, Prefix)]
		for method := range operations.(map[string]any) {
			if methods[strings.ToUpper(method)] == nil {
				t.Errorf("%s %s is described, and does not exist", method, path)
			}
		}
	}
	for path, methods := range h.paths {
		for method := range methods {
			if method != "HEAD" && into(paths[Prefix+path], strings.ToLower(method)) == nil {
				t.Errorf("%s %s is not described", method, Prefix+path)
			}
		}
	}
}

func TestDocumentIsServed(t *testing.T) {
	a := serve(t, false).do(t, "GET", "/admin/v1/openapi.json", "")
	a.want(t, 200)
	var doc struct{ OpenAPI string }
	if err := json.Unmarshal([]byte(a.text), &doc); err != nil || doc.OpenAPI != "3.1.0" {
		t.Errorf("openapi %q, %v", doc.OpenAPI, err)
	}
}
