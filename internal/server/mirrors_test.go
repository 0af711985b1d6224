package server

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nixreg/nixreg/internal/cases"
	"github.com/nixreg/nixreg/registry/upstream"
)

// A run without mirrors keeps what was mirrored before, whatever its own size of the cache, and removes what is half
// written. One with a mirror keeps to the size.
func TestMirrorCacheOfAnotherRun(t *testing.T) {
	data := t.TempDir()
	dir := foldersIn(data).mirror
	whole := filepath.Join(dir, "sha256", "00", strings.Repeat("0", 64))
	half := filepath.Join(dir, "incoming", "blob-1")
	for _, file := range []string{whole, half} {
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, make([]byte, 2000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(mirrors ...Mirror) {
		t.Helper()
		p := new(parts)
		if err := p.openMirrors(&Config{Data: data, MirrorCache: 1000, Mirrors: mirrors}, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		if err := p.close(); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if !isFile(whole) || isFile(half) {
		t.Errorf("without a mirror: kept %v, half written %v; want true, false", isFile(whole), isFile(half))
	}
	run(Mirror{Name: "lab", URL: "http://127.0.0.1:1"})
	if isFile(whole) {
		t.Error("with a mirror more is kept than --mirror-cache")
	}
}

func isFile(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// TestCaseR1bRotatedPasswordFile: a password file that was written anew is read when the old password is refused.
func TestCaseR1bRotatedPasswordFile(t *testing.T) {
	cases.Open(t, "R1b")
	taken := "old"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != taken {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(401)
			return
		}
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		fmt.Fprint(w, `{"schemaVersion":2}`)
	}))
	defer s.Close()
	mc := Mirror{Name: "lab", URL: s.URL, Username: "bob", PasswordFile: filepath.Join(t.TempDir(), "password")}
	rotate := func(password string) {
		t.Helper()
		if err := os.WriteFile(mc.PasswordFile, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rotate("old")
	keys, err := mc.keychain()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1e9, 0)
	up, err := upstream.New(upstream.Options{Name: mc.Name, URL: mc.URL, Keychain: keys, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	for _, password := range []string{"old", "new", "newer"} {
		taken = password
		rotate(password)
		now = now.Add(time.Hour)
		if _, err := up.Manifest(t.Context(), "a", "b"); err != nil {
			t.Errorf("%s: %v", password, err)
		}
	}
}
