package conformance_test

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	cacheUser     = "reader"
	cachePassword = "hush/hush+hush"
	cacheToken    = "token.of.the.cache"
)

// wanting lets in only those who have these credentials, as an Authorization header has them.
func (u *upstream) wanting(allowed func(r *http.Request) bool) *upstream {
	next := u.proxy
	u.proxy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if allowed(r) {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="cache"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	return u
}

func hasPassword(r *http.Request) bool {
	user, password, _ := r.BasicAuth()
	return user == cacheUser && password == cachePassword
}

func hasToken(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer "+cacheToken }

// secretFile is a file that only its user reads.
func secretFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// keepsSecrets fails the test if a log has a password or a token.
func (s *server) keepsSecrets(t *testing.T) {
	t.Helper()
	for _, secret := range []string{cachePassword, url.QueryEscape(cachePassword), "hush", cacheToken} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
}

// A cache that wants a password or a token gets it, however nixreg was told of it.
func TestCachesCredentials(t *testing.T) {
	want := tinyImage(t)
	netrc := secretFile(t, fmt.Sprintf("machine localhost login %s password %s\n", cacheUser, cachePassword))
	token := secretFile(t, cacheToken+"\n")
	for name, c := range map[string]struct {
		allowed func(*http.Request) bool
		url     func(u string) string
		args    []string
	}{
		"netrc":            {hasPassword, func(u string) string { return u }, []string{"--netrc-file", netrc}},
		"netrc in the URL": {hasPassword, func(u string) string { return u + "?netrc-file=" + url.QueryEscape(netrc) }, nil},
		"token":            {hasToken, func(u string) string { return u + "?token-file=" + url.QueryEscape(token) }, nil},
		"user in the URL": {hasPassword, func(u string) string {
			return strings.Replace(u, "://", "://"+url.UserPassword(cacheUser, cachePassword).String()+"@", 1)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			u := serveTiny(t).wanting(c.allowed)
			s := start(t, caches(t, c.url(u.URL)).with(c.args...))
			s.isTiny(t, "with credentials", want)
			s.keepsSecrets(t)
		})
	}
}

// Without the right credentials the answer says what is missing, and shows nothing of them.
func TestCachesWrongCredentials(t *testing.T) {
	wrong := secretFile(t, "machine localhost login reader password hush-wrong\n")
	for name, args := range map[string][]string{"none": nil, "wrong": {"--netrc-file", wrong}} {
		t.Run(name, func(t *testing.T) {
			u := serveTiny(t).wanting(hasPassword)
			s := start(t, caches(t, u.URL).with(args...))
			code, body := s.refused(t, appImage, "latest")
			if code != http.StatusBadGateway || !strings.Contains(body, "401 Unauthorized") {
				t.Errorf("%d %s; want 502, and the reason", code, body)
			}
			s.says(t, "the answer tells what to give, or the log names the file to look into", func(log string) bool {
				return strings.Contains(body, "netrc-file") || strings.Contains(log, wrong)
			})
			if strings.Contains(body, "hush") || strings.Contains(body, wrong) {
				t.Errorf("the answer has the password, or the name of a file here: %s", body)
			}
			s.keepsSecrets(t)
		})
	}
}

// Credentials do not go where a cache redirects to.
func TestCachesRedirectGetsNoCredentials(t *testing.T) {
	netrc := secretFile(t, fmt.Sprintf("machine localhost login %s password %s\n", cacheUser, cachePassword))
	elsewhere := newWitness(t, "127.0.0.1")
	u := serveTiny(t).wanting(hasPassword)
	u.spoil("GET /nar/", always, redirect(elsewhere.URL))
	start(t, caches(t, u.URL).with("--netrc-file", netrc)).refused(t, appImage, "latest")
	if elsewhere.asked.Load() == 0 {
		t.Fatal("the redirect was not followed")
	}
	if secret := elsewhere.secret.Load(); secret != "" {
		t.Errorf("the redirect's target got %q", secret)
	}
}

// A redirect to another server, as caches on object stores have them, is followed.
func TestCachesFollowRedirects(t *testing.T) {
	want := tinyImage(t)
	u := serveTiny(t)
	u.spoil("GET /nar/", always, redirect(u.back.URL))
	start(t, caches(t, u.URL)).isTiny(t, "through redirects", want)
}

// A cache may have a certificate of a company's own authority.
func TestCachesOwnAuthority(t *testing.T) {
	want := tinyImage(t)
	tls := httptest.NewTLSServer(http.FileServer(http.Dir(tinyCache)))
	t.Cleanup(tls.Close)
	authority := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tls.Certificate().Raw})
	if err := os.WriteFile(authority, text, 0o644); err != nil {
		t.Fatal(err)
	}
	start(t, caches(t, tls.URL).with("--ca-file", authority)).isTiny(t, "with --ca-file", want)
	start(t, caches(t, tls.URL+"?ca-file="+url.QueryEscape(authority))).isTiny(t, "with ca-file=", want)
	if code, body := start(t, caches(t, tls.URL)).refused(t, appImage, "latest"); code != http.StatusBadGateway {
		t.Errorf("without the authority: %d %s, want 502", code, body)
	}
}

// What nobody trusted has signed is not there, and the log says once which key is missing.
func TestCachesWrongKey(t *testing.T) {
	u := serveTiny(t)
	other := "nixreg-test-1:" + strings.TrimPrefix(newForge().options().Args[1], "forge-1:") // another key of that name
	for name, args := range map[string][]string{
		"no key":                   nil,
		"another key":              {"--trusted-public-key", newForge().options().Args[1]},
		"another key of that name": {"--trusted-public-key", other},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, options{Args: append([]string{"--store", u.URL}, args...)})
			if code, body := s.refused(t, appImage, "latest"); code != http.StatusNotFound {
				t.Errorf("%d %s, want 404", code, body)
			}
			s.says(t, "the log names the key that signed", func(log string) bool { return strings.Contains(log, "nixreg-test-1") })
			if n := len(s.archives(t)); n != 0 {
				t.Errorf("%d archives were fetched of what is not trusted", n)
			}
		})
	}
}

// A data directory that was filled without asking for signatures lends no trust to a server that asks for them.
func TestCachesTrustIsNotRemembered(t *testing.T) {
	u := serveTiny(t)
	s := start(t, options{Args: []string{"--store", u.URL + "?trusted=true"}})
	s.image(t, appImage, "latest")
	s.stop(t)
	o := newForge().options(u.URL)
	o.Data = s.Data
	if code, body := start(t, o).refused(t, appImage, "latest"); code != http.StatusNotFound {
		t.Errorf("with another key on the same data: %d %s, want 404", code, body)
	}
}

// What Nix is told of its substituters is enough: their addresses, keys, and netrc-file.
func TestCachesOfNixConf(t *testing.T) {
	want := tinyImage(t)
	u := serveTiny(t).wanting(hasPassword)
	dir := t.TempDir()
	netrc := secretFile(t, fmt.Sprintf("machine localhost login %s password %s\n", cacheUser, cachePassword))
	writeInto(t, dir, "nix.conf", fmt.Appendf(nil, "substituters = ssh://builder.example.org\nextra-substituters = %s\n", u.URL))
	o := options{Args: []string{"--store", "nix-conf"}, Env: []string{
		"NIX_CONF_DIR=" + dir, "NIX_USER_CONF_FILES=", "NIX_CONFIG=netrc-file = " + netrc + "\ntrusted-public-keys = " + tinyKey(t),
	}}
	s := start(t, o)
	s.isTiny(t, "from Nix's configuration", want)
	s.keepsSecrets(t)
}
