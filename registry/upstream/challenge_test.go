package upstream

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestNoCredentials(t *testing.T) {
	for _, challenge := range []string{`Basic realm="x"`, `Negotiate`, `Bearer`, `Bearer realm="/token"`, `Bearer realm="https://:1/"`} {
		inNetwork(t, func(t *testing.T, n *network) {
			h := n.Serve("r.lab.test:443", "9.9.9.9", guarded(challenge, always("never")))
			_, err := n.open(Options{Name: "r.lab.test"}).Manifest(t.Context(), "a", "b")
			if !errors.Is(err, fs.ErrPermission) || len(h.Requests()) != 1 {
				t.Errorf("%s: %v after %q", challenge, err, h.Paths())
			}
		})
	}
}

// Of several challenges the one is taken that can be met best: tokens, which anybody may get.
func TestSeveralChallenges(t *testing.T) {
	const basicFirst, noRealm = `Basic realm="x"`, `Bearer service="lab"`
	for _, tc := range []struct {
		challenges []string
		want       string
	}{
		{[]string{basicFirst, labChallenge}, "bearer"}, {[]string{labChallenge, basicFirst}, "bearer"},
		{[]string{`Negotiate`, basicFirst}, "basic"}, {[]string{noRealm, basicFirst}, "basic"}, {[]string{basicFirst, noRealm}, "basic"},
		{[]string{`Negotiate`, labChallenge}, "bearer"}, {[]string{labChallenge + `, Basic realm="x"`}, "bearer"},
		{[]string{noRealm}, "bearer"}, {[]string{`Negotiate`, ``}, ""},
	} {
		got := ""
		if ch, _ := parseChallenge(t.Context(), http.Header{"Www-Authenticate": tc.challenges}); ch != nil {
			got = ch.Scheme
		}
		if got != tc.want {
			t.Errorf("%q: %q, want %q", tc.challenges, got, tc.want)
		}
	}
}

// Where the token server is one that must not get the credentials, they go to the registry itself, if it takes them.
func TestBasicBesideAStranger(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		stranger := n.Serve("blobs.cdn.test:443", "9.9.9.8", status(200, `{"token":"anonymous"}`))
		n.Serve("r.lab.test:443", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == aliceBasic {
				documents("{}")(w, r)
				return
			}
			w.Header()["Www-Authenticate"] = []string{`Basic realm="x"`, `Bearer realm="https://blobs.cdn.test/token",service="lab"`}
			w.WriteHeader(http.StatusUnauthorized)
		})
		if _, err := n.open(Options{Name: "r.lab.test", Keychain: alice("r.lab.test")}).Manifest(t.Context(), "a", "b"); err != nil || len(stranger.Paths()) > 0 {
			t.Errorf("%v; the other one was asked %q", err, stranger.Paths())
		}
	})
}

// Token servers have ways of their own to say what they give.
func TestTokens(t *testing.T) {
	for _, tc := range []struct{ realm, answer, want string }{
		{"https://auth.lab.test/token", `{"access_token":"a"}`, "Bearer a"},
		{"https://auth.lab.test/token", `{"token":"t","access_token":"","expires_in":0,"issued_at":"never"}`, "Bearer t"},
		{"https://auth.lab.test/token", `{"token":"t","access_token":"a"}`, "Bearer a"},
		{"https://auth.lab.test/proxy_auth?scope=repository:x:pull,push&account=lab", `{"token":"t"}`, "Bearer t"},
	} {
		inNetwork(t, func(t *testing.T, n *network) {
			h := n.Serve("auth.lab.test:443", "9.9.9.8", status(200, tc.answer))
			n.Serve("r.lab.test:443", "9.9.9.9", guarded(fmt.Sprintf("Bearer realm=%q,service=lab", tc.realm), always(tc.want)))
			if _, err := n.open(Options{Name: "r.lab.test"}).Manifest(t.Context(), "a", "b"); err != nil {
				t.Fatalf("%s: %v", tc.answer, err)
			}
			q := h.Requests()[0].URL.Query()
			if q.Get("service") != "lab" || fmt.Sprint(q["scope"]) != "[repository:a:pull]" || h.Requests()[0].Header.Get("Authorization") != "" {
				t.Errorf("%s: asked for %v", tc.realm, q)
			}
		})
	}
}

// Where a token for the repository is not enough, the registry says what else it wants: it may have the repository under
// another name. Nothing but the right to pull is asked for.
func TestScopeOfAChallenge(t *testing.T) {
	const own = "repository:a:pull"
	for _, tc := range []struct{ scope, more string }{
		{"repository:team/a:pull", "repository:team/a:pull"}, {"repository:team/a:pull,push,delete", "repository:team/a:pull"},
		{"aws", "aws"}, {"repository:x:pull repository:y:pull", "repository:x:pull repository:y:pull"},
		{own, ""}, {"repository:a:*", ""}, {"repository:a:push,pull", ""}, {"registry:catalog:*", ""}, {"", ""}, {"a:b:c:pull d", "a:b:c:pull d"},
	} {
		t.Run(tc.scope, func(t *testing.T) {
			inNetwork(t, func(t *testing.T, n *network) {
				s := n.Serve("auth.lab.test:443", "9.9.9.8", func(w http.ResponseWriter, r *http.Request) {
					fmt.Fprintf(w, `{"token":"%d"}`, len(r.URL.Query()["scope"]))
				})
				wide := len(strings.Fields(tc.more)) + 1
				h := n.Serve("r.lab.test:443", "9.9.9.9", guarded(fmt.Sprintf("%s,scope=%q", labChallenge, tc.scope), func() string { return fmt.Sprintf("Bearer %d", wide) }))
				r := n.open(Options{Name: "r.lab.test"})
				for range 3 {
					if _, err := r.Manifest(t.Context(), "a", "b"); err != nil {
						t.Fatalf("%v after %q", err, h.Paths())
					}
				}
				want := []string{own}
				if tc.more != "" {
					want = append(want, strings.Join(append(strings.Fields(tc.more), own), " "))
				}
				var got []string
				for _, q := range s.Requests() {
					got = append(got, strings.Join(q.URL.Query()["scope"], " "))
				}
				if !slices.Equal(got, want) || len(h.Requests()) != len(want)+3 {
					t.Errorf("asked for tokens for %q, want %q; the registry for %q", got, want, h.Paths())
				}
			})
		})
	}
}

// A registry that wants another scope each time gets no more than one.
func TestScopesAreBounded(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		i := 0
		s := n.Serve("auth.lab.test:443", "9.9.9.8", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, `{"token":"%d"}`, i) })
		h := n.Serve("r.lab.test:443", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) {
			i++
			status(401, "", "WWW-Authenticate", fmt.Sprintf(`%s,scope="x%d"`, labChallenge, i))(w, r)
		})
		_, err := n.open(Options{Name: "r.lab.test"}).Manifest(t.Context(), "a", "b")
		if !errors.Is(err, fs.ErrPermission) || len(h.Requests()) != 3 || len(s.Requests()) != 2 {
			t.Errorf("%v after %q and %d tokens", err, h.Paths(), len(s.Requests()))
		}
	})
}

func FuzzScope(f *testing.F) {
	f.Add("repository:team/a:pull,push")
	f.Add("aws repository:a:*  x")
	f.Add("repository(plugin):x:push,pull")
	f.Fuzz(func(t *testing.T, s string) {
		for _, scope := range pullScopes(s) {
			if strings.ContainsAny(scope, " \n") || strings.HasPrefix(scope, "repository(") || strings.HasPrefix(scope, "repository:") && !strings.HasSuffix(scope, ":pull") {
				t.Errorf("%q: %q", s, scope)
			}
		}
	})
}

func FuzzChallenge(f *testing.F) {
	for _, s := range []string{labChallenge, `Basic realm="x"`, `Negotiate`, ``, `Bearer realm="a\"b",x=`, "Bearer realm=\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ch, _ := parseChallenge(t.Context(), http.Header{"Www-Authenticate": {s}})
		if ch != nil && !isScheme(ch, "basic") && !isScheme(ch, "bearer") {
			t.Errorf("%q: %+v", s, ch)
		}
	})
}
