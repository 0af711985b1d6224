package conformance_test

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// late answers when release is closed, and not a byte before.
func late(release <-chan struct{}) fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		select {
		case <-release:
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
}

// What a mirrored upstream takes its time for comes after some hops, however the mirror is named: the host that containerd
// names, and all other parameters, stay through all of them. The upstream is asked once.
func TestHopsOfAMirror(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	s := start(t, through(u, "--mirror-listen", lab+"=127.0.0.1:0", "--wait", "1s", "--log-level", "debug"))
	alone := s.mirrorAlone(t, lab)
	for i, c := range []struct {
		server           *server
		what, path, more string
	}{
		{s, "manifests", "lab/app0", ""},
		{alone, "manifests", "app1", ""},
		{s, "manifests", "app2", "&ns=" + u.Host},
		{alone, "manifests", "app3", "&ns=" + u.Host},
		{s, "blobs", "lab/app4", ""},
		{alone, "blobs", "app5", "&ns=" + u.Host},
	} {
		t.Run(c.what+" of "+c.path, func(t *testing.T) {
			t.Parallel()
			repo := fmt.Sprint("app", i)
			want := u.push(t, shape{seed: int64(70 + i), layers: 1, size: 10_000, repository: repo, tags: "v1"})[0]
			ref, digest := "v1", want.Digest
			if c.what == "blobs" {
				ref, digest = want.Layers[0].Digest, want.Layers[0].Digest
			}
			question, release := "GET /v2/"+repo+"/"+c.what+"/"+ref, make(chan struct{})
			u.spoil(question, always, late(release))
			url := c.server.URL + "/v2/" + c.path + "/" + c.what + "/" + ref + "?a=%2B" + c.more
			err := c.server.during(t, repo+"/", hopsEnough, func() { close(release) }, func() error {
				resp, body, err := follow(t.Context(), http.MethodGet, url)
				if err != nil {
					return err
				}
				if q := resp.Request.URL.RawQuery; !strings.HasPrefix(q, "a=%2B"+c.more+"&nixreg_hop=") {
					t.Errorf("the last query is %s", q)
				}
				return same(resp.Status+": the digest", textDigest(string(body)), digest)
			})
			if err != nil {
				t.Error(err)
			}
			if n := u.count(question); n != 1 {
				t.Errorf("the upstream was asked %d times", n)
			}
		})
	}
}

// An upstream that wants tokens and takes its time gives one for all hops.
func TestHopsWithTokens(t *testing.T) {
	t.Parallel()
	ts := newTokens(t)
	u, _, want := guarded(t, ts)
	release := make(chan struct{})
	proxy := u.proxy
	u.proxy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/private/app/manifests/v1" && r.Header.Get("Authorization") != "" {
			late(release)(w, r, proxy)
			return
		}
		proxy.ServeHTTP(w, r)
	})
	s := start(t, logins(t, u, tokenUser, tokenPassword)[inFile].with("--wait", "1s", "--log-level", "debug"))
	err := s.during(t, "private/app", hopsEnough, func() { close(release) }, func() error {
		resp, body, err := follow(t.Context(), http.MethodGet, s.URL+"/v2/lab/private/app/manifests/v1")
		if err != nil {
			return err
		}
		return same(resp.Status+": the digest", textDigest(string(body)), want[0].Digest)
	})
	if err != nil {
		t.Error(err)
	}
	if n, asked := ts.count(), u.count("GET /v2/private/app/manifests/v1"); n != 1 || asked != 2 {
		t.Errorf("%d tokens for %d requests; want one, after a first request without", n, asked)
	}
}

// A nixreg follows another one that is not ready: as a mirror, with its documents and its blobs, for nixreg pull, and for
// the base image of a definition.
func TestHopsOfAnUpstream(t *testing.T) {
	for _, c := range []struct {
		name, what string
		hops       int
		do         func(ctx context.Context, t *testing.T, h held) error
	}{
		{"mirror", "nar", 2 * hopsEnough, func(ctx context.Context, t *testing.T, h held) error {
			return mirrors(ctx, t, h, "manifests/latest", h.want.top)
		}},
		{"mirror by digest", "narinfo", hopsEnough, func(ctx context.Context, t *testing.T, h held) error {
			return mirrors(ctx, t, h, "manifests/"+h.want.top, h.want.top)
		}},
		{"mirror of a blob", "blob", 2 * hopsEnough, func(ctx context.Context, t *testing.T, h held) error {
			layer := h.manifest(t, h.want.repo, h.want.manifest).Layers[1].Digest
			return mirrors(ctx, t, h, "blobs/"+layer, layer)
		}},
		{"nixreg pull", "nar", 2 * hopsEnough, func(ctx context.Context, t *testing.T, h held) error {
			out, err := exec.CommandContext(ctx, binary, "pull", "--tls-verify=false", "docker://"+h.Host+"/"+h.want.repo+":latest", "--json").Output()
			if err != nil {
				return fmt.Errorf("%w: %s", err, stderrOf(err))
			}
			if !strings.Contains(string(out), h.want.top) {
				return fmt.Errorf("%s, want %s", out, h.want.top)
			}
			return nil
		}},
		{"base image", "nar", hopsEnough, func(ctx context.Context, t *testing.T, h held) error {
			definition := fmt.Sprintf("name: based\nfromImage: docker://reg.test/%s@%s\n", h.want.repo, h.want.top)
			file := filepath.Join(t.TempDir(), "based.yaml")
			writeInto(t, filepath.Dir(file), filepath.Base(file), []byte(definition))
			s := start(t, options{Args: []string{"--demo", "--mirror", "reg.test=" + h.URL, "--images", file}})
			resp, body, err := follow(ctx, http.MethodGet, s.URL+"/v2/based/manifests/latest")
			if err != nil {
				return err
			}
			if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), h.want.layer.Digest) {
				return fmt.Errorf("%s: %.300s; want a layer %s", resp.Status, body, h.want.layer.Digest)
			}
			return nil
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHeld(t, c.what)
			if err := h.server.during(t, h.want.repo, c.hops, h.release, func() error { return c.do(t.Context(), t, h) }); err != nil {
				t.Error(err)
			}
			archives := h.cache.requests("GET /nar/")
			slices.SortFunc(archives, func(a, b asked) int { return strings.Compare(a.line, b.line) })
			if len(slices.Compact(archives)) != h.cache.count("GET /nar/") {
				t.Error("an archive was fetched twice")
			}
		})
	}
}

// That an upstream is not ready, after all its hops, is said of the one image alone, with what it says itself; others are
// asked for as before, and so is this one by its digest.
func TestHopsOfAnUpstreamEnd(t *testing.T) {
	t.Parallel()
	h := newHeld(t, "nar")
	s := start(t, options{Args: []string{"--demo", "--mirror", lab + "=" + h.URL}})
	resp, body, err := follow(t.Context(), http.MethodGet, s.URL+"/v2/lab/"+h.want.repo+"/manifests/latest")
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || !strings.Contains(string(body), "is not ready yet") {
		t.Errorf("%s: %s", resp.Status, body)
	}
	s.manifest(t, "lab/"+h.free, "latest")
	h.release()
	s.manifest(t, "lab/"+h.want.repo, h.want.top)
}

// mirrors asks a mirror of a server for what is to have a digest.
func mirrors(ctx context.Context, t *testing.T, h held, what, digest string) error {
	s := start(t, options{Args: []string{"--demo", "--mirror", lab + "=" + h.URL}})
	resp, body, err := follow(ctx, http.MethodGet, s.URL+"/v2/lab/"+h.want.repo+"/"+what)
	if err != nil {
		return err
	}
	return same(resp.Status+": the digest", textDigest(string(body)), digest)
}
