package app

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"keyway/internal/testkit/leakhunt"
)

func TestTracesReachACollector(t *testing.T) {
	got := make(chan string, 8)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		leakhunt.Written("trace", text)
		got <- r.URL.Path
	}))
	defer collector.Close()
	r := start(t, options(t, env(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL}), managed, ""))
	if status, body := get(client(t), r.Public+"/auth/session"); status != 200 {
		t.Fatal(status, body)
	}
	if err := r.stop(t); err != nil {
		t.Fatal(err)
	}
	select {
	case path := <-got:
		if path != "/v1/traces" {
			t.Errorf("sent to %s", path)
		}
	default:
		t.Error("what waited at the stop was not handed over")
	}
}

func TestTracesThatCannotBeKeptRefuseTheStart(t *testing.T) {
	_, err := tryStart(t, options(t, env(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
	}), managed, ""))
	if err == nil || !strings.Contains(err.Error(), "OTEL_EXPORTER_OTLP_PROTOCOL") {
		t.Errorf("started: %v", err)
	}
}
