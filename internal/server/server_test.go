package server

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// demoConfig are the settings of a server of the built-in store.
func demoConfig(data string) Config {
	return Config{Data: data, Demo: true, Wait: wait, NARCache: 1e9, Log: slog.New(slog.DiscardHandler)}
}

func statusOf(h http.Handler, path string) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code
}

// A server is usable without an address: the handlers serve everything, or one mirror alone.
func TestHandlers(t *testing.T) {
	c := demoConfig(t.TempDir())
	c.Mirrors = []Mirror{{Name: "lab", URL: "http://127.0.0.1:1", TTL: 1}}
	s, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, tt := range []struct {
		h    http.Handler
		path string
		want int
	}{
		{s.Handler(), "/v2/hello/manifests/latest", 200},
		{s.Handler(), "/v2/nothing/manifests/latest", 404},
		{s.Handler(), "/v2/lab/x/manifests/latest", 502},
		{s.MirrorHandler("lab"), "/v2/hello/manifests/latest", 502}, // asks the registry, which does not listen
		{s.MirrorHandler("lab"), "/v2/", 200},
	} {
		if got := statusOf(tt.h, tt.path); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.path, got, tt.want)
		}
	}
}

// A data directory has one server at a time. Close gives it back, and so does New if it fails; addresses likewise.
func TestNewTakesAndGivesBack(t *testing.T) {
	dir := t.TempDir()
	c := demoConfig(dir)
	c.Listen = "127.0.0.1:0"
	s, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	c.Listen = s.fronts[0].hostPort(c.Listen)
	if _, err := New(t.Context(), c); err == nil || !strings.HasPrefix(err.Error(), "listen "+c.Listen+": address ") {
		t.Errorf("the same address: %v", err)
	}
	other := demoConfig(dir)
	if _, err := New(t.Context(), other); err == nil || !strings.Contains(err.Error(), "another nixreg serve is using it") {
		t.Errorf("the same directory: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	wrong := c
	wrong.Stores = []string{"file:///none?colour=red"}
	if _, err := New(t.Context(), wrong); err == nil || !strings.Contains(err.Error(), "unknown parameter") {
		t.Errorf("a wrong store: %v", err)
	}
	if s, err = New(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// Serve ends at a signal, with nothing left that runs.
func TestServe(t *testing.T) {
	c := demoConfig(t.TempDir())
	c.Listen = "localhost:0"
	s, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	signals, reload, ended := make(chan os.Signal, 1), make(chan os.Signal), make(chan error, 1)
	go func() { ended <- s.Serve(t.Context(), signals, reload) }()
	reload <- syscall.SIGHUP
	if resp := fetch(t, "http://"+s.fronts[0].hostPort(c.Listen)+"/v2/hello/manifests/latest"); resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
	signals <- syscall.SIGTERM
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// Without a data directory everything is in a temporary one, which Close removes, and there are no mirrors.
func TestWithoutData(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	c := demoConfig("")
	c.Mirrors = []Mirror{{Name: "lab", URL: "http://127.0.0.1:1"}}
	s, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if got := statusOf(s.Handler(), "/v2/hello/manifests/latest"); got != 200 {
		t.Errorf("hello: %d", got)
	}
	if got := statusOf(s.Handler(), "/v2/lab/x/manifests/latest"); got != 404 {
		t.Errorf("a mirror: %d", got)
	}
	if made, _ := filepath.Glob(filepath.Join(temp, tempPrefix+"*")); len(made) != 1 {
		t.Errorf("temporary directories: %q", made)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
