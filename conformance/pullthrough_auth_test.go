package conformance_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// guarded is an upstream that wants tokens, with the images public/app and private/app.
func guarded(t *testing.T, ts *tokens) (u *upstream, public, private []document) {
	t.Helper()
	u = newUpstream(t)
	i := shape{seed: 60, layers: 20, size: 1000, repository: "public/app", tags: "v1"}
	public = u.push(t, i)
	i.seed, i.repository = 61, "private/app"
	private = u.push(t, i)
	u.proxy = ts.guard(u.proxy)
	return u, public, private
}

// Where nixreg finds an upstream's user.
const (
	inFile   = "configuration file"
	inDocker = "Docker's configuration"
)

// logins are the ways to give nixreg the upstream's user, as options.
func logins(t *testing.T, u *upstream, user, password string) map[string]options {
	t.Helper()
	dir := t.TempDir()
	secret, docker := filepath.Join(dir, "password"), filepath.Join(dir, "config.json")
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	for file, text := range map[string]string{
		secret: password + "\n",
		docker: fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, u.Host, auth),
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fromFile := configured(t, fmt.Sprintf("  lab:\n    url: %s\n    username: %s\n    password-file: %s\n", u.URL, user, secret))
	fromDocker := through(u)
	fromFile.Env, fromDocker.Env = []string{"DOCKER_CONFIG=" + filepath.Join(dir, "none")}, []string{"DOCKER_CONFIG=" + dir}
	return map[string]options{inFile: fromFile, inDocker: fromDocker}
}

// The user's credentials open a private repository, for one token, and the log has none of it.
func TestPullThroughPrivateRepository(t *testing.T) {
	for _, name := range []string{inFile, inDocker} {
		t.Run(name, func(t *testing.T) {
			ts := newTokens(t)
			u, _, want := guarded(t, ts)
			s := start(t, logins(t, u, tokenUser, tokenPassword)[name])
			sameImage(t, "with the user's token", s.image(t, "lab/private/app", "v1"), want)
			if n := ts.count(); n > 2 {
				t.Errorf("for an image of 20 layers there were %d tokens", n)
			}
			ts.revoke()
			if got := s.status(t, "/v2/lab/private/app/tags/list"); got != http.StatusOK {
				t.Errorf("after the token was revoked: %d", got)
			}
			for _, a := range u.requests("") {
				if strings.HasPrefix(a.authorization, "Basic ") {
					t.Errorf("%s came with the password", a.line)
				}
				if token, ok := strings.CutPrefix(a.authorization, "Bearer "); ok && strings.Contains(s.log.String(), token) {
					t.Error("the log has a token")
				}
			}
			if strings.Contains(s.log.String(), tokenPassword) {
				t.Error("the log has the password")
			}
		})
	}
}

// Nobody needs a password for what is public, and nobody gets what is private without one.
func TestPullThroughAnonymously(t *testing.T) {
	ts := newTokens(t)
	u, public, _ := guarded(t, ts)
	o := through(u)
	o.Env = []string{"DOCKER_CONFIG=" + t.TempDir()}
	s := start(t, o)
	sameImage(t, "without a user", s.image(t, "lab/public/app", "v1"), public)
	if n := ts.count(); n > 2 {
		t.Errorf("for an image of 20 layers there were %d tokens", n)
	}
	if code, text := s.code(t, "/v2/lab/private/app/manifests/v1"); code != http.StatusForbidden || text != "DENIED" {
		t.Errorf("a private repository: %d %s, want 403 DENIED", code, text)
	}
}

// A wrong password is an error that says so, and that does not show it.
func TestPullThroughWrongPassword(t *testing.T) {
	const wrong = "wrong-and-secret"
	ts := newTokens(t)
	u, _, _ := guarded(t, ts)
	for name, o := range logins(t, u, tokenUser, wrong) {
		t.Run(name, func(t *testing.T) {
			s := start(t, o)
			if code, text := s.code(t, "/v2/lab/private/app/manifests/v1"); code != http.StatusForbidden || text != "DENIED" {
				t.Errorf("a private repository: %d %s, want 403 DENIED", code, text)
			}
			if strings.Contains(s.log.String(), wrong) {
				t.Error("the log has the password")
			}
		})
	}
}

// Where blobs are somewhere else, as with most registries, their host gets neither token nor password.
func TestPullThroughRedirectGetsNoCredentials(t *testing.T) {
	ts := newTokens(t)
	u, _, want := guarded(t, ts)
	s := start(t, logins(t, u, tokenUser, tokenPassword)[inFile])
	s.manifest(t, "lab/private/app", "v1")

	elsewhere := newWitness(t, "127.0.0.1")
	layer := want[0].Layers[0]
	u.spoil("GET /v2/private/app/blobs/"+layer.Digest, always, redirect(elsewhere.URL))
	if got := s.status(t, "/v2/lab/private/app/blobs/"+layer.Digest); got != http.StatusNotFound {
		t.Errorf("a blob that is not where the redirect leads: %d, want 404", got)
	}
	if elsewhere.asked.Load() == 0 {
		t.Fatal("the redirect was not followed")
	}
	if secret := elsewhere.secret.Load(); secret != "" {
		t.Errorf("the redirect's target got %q", secret)
	}
	u.heal()
	u.spoil("GET /v2/private/app/blobs/", always, redirect(u.back.URL))
	s.blob(t, "lab/private/app", want[0].Layers[1])
}

// A token server that is not the registry's own is asked without a password, and one in another network not at all.
func TestPullThroughForeignRealm(t *testing.T) {
	u := newUpstream(t)
	u.push(t, shape{seed: 63, layers: 1, size: 1000, repository: "private/app", tags: "v1"})
	beside, beyond := newWitness(t, "127.0.0.1"), newWitness(t, privateAddress(t))
	for _, realm := range []string{beside.URL, beyond.URL, "http://169.254.169.254"} {
		u.heal()
		u.spoil("", always, status(http.StatusUnauthorized, "WWW-Authenticate", fmt.Sprintf("Bearer realm=%q,service=%q", realm, tokenService)))
		s := start(t, logins(t, u, tokenUser, tokenPassword)[inFile])
		if got := s.status(t, "/v2/lab/private/app/manifests/v1"); got < 400 {
			t.Errorf("with the realm %s: %d", realm, got)
		}
	}
	if secret := beside.secret.Load(); secret != nil && secret != "" {
		t.Errorf("a foreign realm got %q", secret)
	}
	if n := beyond.asked.Load(); n != 0 {
		t.Errorf("a realm in another network was asked %d times", n)
	}
}

// A registry without tokens takes the password itself.
func TestPullThroughBasicAuthentication(t *testing.T) {
	u := newUpstream(t)
	want := u.push(t, shape{seed: 62, layers: 2, size: 1000, repository: "private/app", tags: "v1"})
	next := u.proxy
	u.proxy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user == tokenUser && password == tokenPassword {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	for name, o := range logins(t, u, tokenUser, tokenPassword) {
		t.Run(name, func(t *testing.T) {
			sameImage(t, "with a password", start(t, o).image(t, "lab/private/app", "v1"), want)
		})
	}
	o := through(u)
	o.Env = []string{"DOCKER_CONFIG=" + t.TempDir()}
	if code, text := start(t, o).code(t, "/v2/lab/private/app/manifests/v1"); code != http.StatusForbidden || text != "DENIED" {
		t.Errorf("without a password: %d %s, want 403 DENIED", code, text)
	}
}
