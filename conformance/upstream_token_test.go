package conformance_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// The one user of a token server. Repositories below private/ are the user's, all others may be pulled by anybody.
const (
	tokenUser     = "robot"
	tokenPassword = "not-for-the-log"
	tokenService  = "registry.test"
	tokenKey      = "key-1"
)

// tokens is a server of tokens, and keeps a registry that wants them.
//
// Source: distribution, "Token Authentication Specification".
type tokens struct {
	realm string
	key   *ecdsa.PrivateKey

	mu        sync.Mutex
	exchanges int
	valid     map[string][]access // by token, for guard
}

// access is what a token allows, as it stands in it.
type access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

func newTokens(t *testing.T) *tokens {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ts := &tokens{key: key, valid: make(map[string][]access)}
	ts.realm = localServer(t, ts).URL + "/token"
	return ts
}

// ServeHTTP gives a token for the scopes that are asked for, as far as the client may have them.
func (ts *tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, ok := r.BasicAuth()
	if ok && (user != tokenUser || password != tokenPassword) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var granted []access
	for _, scope := range r.URL.Query()["scope"] {
		if a := grant(scope, ok); len(a.Actions) > 0 {
			granted = append(granted, a)
		}
	}
	token := ts.sign(granted)
	ts.mu.Lock()
	ts.exchanges++
	ts.valid[token] = granted
	ts.mu.Unlock()
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": 300}) // an error means that the client left
}

// grant is what a user, or anybody, gets of a scope: "repository:NAME:pull,push".
func grant(scope string, known bool) access {
	part := strings.Split(scope, ":")
	if len(part) != 3 {
		return access{}
	}
	a := access{Type: part[0], Name: part[1]}
	for _, action := range strings.Split(part[2], ",") {
		if known || action == "pull" && !strings.HasPrefix(a.Name, "private/") {
			a.Actions = append(a.Actions, action)
		}
	}
	return a
}

// sign makes a JSON Web Token.
//
// Source: RFC 7519, and RFC 7518, section 3.4.
func (ts *tokens) sign(granted []access) string {
	now := time.Now()
	head := base64JSON(map[string]any{"typ": "JWT", "alg": "ES256", "kid": tokenKey})
	body := base64JSON(map[string]any{
		"iss": tokenService, "aud": tokenService, "sub": tokenUser, "jti": rand.Text(), "access": granted,
		"iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(time.Hour).Unix(),
	})
	hash := sha256.Sum256([]byte(head + "." + body))
	r, s, err := ecdsa.Sign(rand.Reader, ts.key, hash[:])
	if err != nil {
		panic(err) // there is no such key
	}
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return head + "." + body + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func base64JSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // nothing here cannot be encoded
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// keySet writes the public key into a file, as distribution reads it.
func (ts *tokens) keySet(t *testing.T) (file string) {
	t.Helper()
	point, err := ts.key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(map[string]any{"keys": []map[string]string{{
		"kty": "EC", "crv": "P-256", "kid": tokenKey, "alg": "ES256", "use": "sig",
		"x": base64.RawURLEncoding.EncodeToString(point[1:33]), "y": base64.RawURLEncoding.EncodeToString(point[33:]),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// guard lets only those requests through to a registry that have a token for them.
func (ts *tokens) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repo := repositoryOf(r.URL.Path)
		if ts.allows(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), repo) {
			next.ServeHTTP(w, r)
			return
		}
		challenge := fmt.Sprintf("Bearer realm=%q,service=%q", ts.realm, tokenService)
		if repo != "" {
			challenge += fmt.Sprintf(",scope=%q", "repository:"+repo+":pull")
		}
		w.Header().Set("WWW-Authenticate", challenge)
		w.WriteHeader(http.StatusUnauthorized)
	})
}

// allows reports whether a token may pull; the ping wants any.
func (ts *tokens) allows(token, repo string) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	granted, ok := ts.valid[token]
	for _, a := range granted {
		if a.Name == repo {
			return true
		}
	}
	return ok && repo == ""
}

// repositoryOf is the one that a path is about.
func repositoryOf(path string) string {
	part := strings.Split(strings.TrimPrefix(path, "/v2/"), "/")
	return strings.Join(part[:max(0, len(part)-2)], "/")
}

// revoke makes all tokens void.
func (ts *tokens) revoke() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	clear(ts.valid)
}

func (ts *tokens) count() int {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return ts.exchanges
}
