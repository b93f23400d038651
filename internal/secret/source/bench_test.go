package source

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"keyway/internal/secret"
)

// A look at seven secrets in which nothing is new: what a poll costs, and what a
// flood of made-up version ids costs once a second.
func BenchmarkLook(b *testing.B) {
	dir := b.TempDir()
	var secrets []Secret
	v := &volume{t: b, dir: dir}
	files := map[string]string{}
	for n := range 7 {
		name := fmt.Sprintf("SECRET_KEY_%d", n)
		files[fmt.Sprintf("secret_key_%d", n)] = value(n)
		secrets = append(secrets, Secret{Name: name, Variable: name, Check: strong})
	}
	v.swap(files)
	w, err := New(secrets, Options{Settle: time.Nanosecond, Finder: secret.Finder{
		Env: func(string) (string, bool) { return "", false }, Dir: filepath.Clean(dir)}})
	if err != nil {
		b.Fatal(err)
	}
	r := &run{Watcher: w, notifier: newNotifier(w.options.Log), reader: &reader{}}
	defer r.notifier.close()
	r.lookAtAll(time.Now())
	b.ReportAllocs()
	for b.Loop() {
		r.lookAtAll(time.Now())
	}
}
