package conformance_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// ill is one way in which an upstream fails, and what a client of a cold mirror gets for it.
type ill struct {
	name     string
	fault    fault
	document int // status of a manifest
	blob     int // status of a layer; orCut if the answer may have begun, and is then cut short
}

// orCut stands for 502, or a connection that is cut: in the midst of the body, or before the header, which the server sends
// together with a body as short as a page.
const orCut = 0

func ills() []ill {
	loop := func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		http.Redirect(w, r, r.URL.Path, http.StatusFound)
	}
	return []ill{
		{"429", status(429, "Retry-After", "1"), 429, 429},
		{"500", status(500), 500, 500},
		{"503", status(503), 503, 503},
		{"403", status(403), 403, 403},
		{"404", status(404), 404, 404},
		{"no answer", drop, 502, 502},
		{"cut half way", cutForGood, 502, orCut},
		{"wrong byte", change(flip(1, 2)), 502, orCut},
		{"wrong first byte", change(flip(0, 1)), 502, orCut},
		{"wrong last byte", change(flip(1, 1)), 502, orCut},
		{"one byte more", change(longer), 502, orCut},
		{"one byte less", change(shorter), 502, orCut},
		{"another page", change(page), 502, orCut},
		{"nothing", change(func([]byte) []byte { return nil }), 502, 502},
		{"redirect in a loop", loop, 502, 502},
		{"redirect to nowhere", redirect("http://localhost:1"), 502, 502},
		{"redirect to a file", redirect("file://"), 502, 502},
		{"redirect without a location", status(http.StatusFound), 502, 502},
	}
}

// sick is a mirror of an upstream that fails in one way.
type sick struct {
	ill
	*upstream
	repo string // as clients name it
	want []document
}

// Whatever an upstream does, no client takes a wrong blob or document for a right one, none of it is kept, and once it is
// over the right bytes are there: at once for what was wrong in itself, in the next process for what is remembered for ten
// seconds. All upstreams are mirrored by one server and fail at the same time, because nixreg waits before it tries again.
func TestPullThroughFaults(t *testing.T) {
	t.Parallel()
	o, all := sickMirrors(t)
	s := start(t, o)
	var asking sync.WaitGroup
	for _, i := range all {
		s.manifest(t, i.repo, i.want[1].Digest) // its blobs are the repository's from now on
		i.spoil("", always, i.fault)
		for path, want := range i.cold() {
			asking.Go(func() {
				if err := s.fails(t.Context(), "/v2/"+i.repo+path, want); err != nil {
					t.Errorf("%s: %v", i.name, err)
				}
			})
		}
	}
	asking.Wait()
	for _, i := range all {
		for _, d := range []string{i.want[0].Digest, i.want[1].Layers[0].Digest} {
			if exists(t, s.keptFile(descriptor{Digest: d})) {
				t.Errorf("%s: %s is kept", i.name, d)
			}
		}
		i.heal()
		if i.ill.blob == orCut {
			s.blob(t, i.repo, i.want[1].Layers[0])
		}
	}
	s.stop(t)
	o.Data = s.Data
	s = start(t, o)
	for _, i := range all {
		sameImage(t, i.name+", healed, in the next process", s.image(t, i.repo, "v1"), i.want)
	}
	s.checkKept(t)
}

func sickMirrors(t *testing.T) (o options, all []sick) {
	t.Helper()
	o.Args = []string{"--demo"}
	for n, i := range ills() {
		u := newUpstream(t)
		name := fmt.Sprintf("lab%d", n)
		o.Args = append(o.Args, "--mirror", name+"="+u.URL)
		want := u.push(t, shape{seed: int64(1000 + n), platforms: 1, layers: 1, size: 400_000, repository: "app", tags: "v1"})
		all = append(all, sick{i, u, name + "/app", want})
	}
	return o, all
}

// cold are the paths of what the mirror has not got, and what they are answered with.
func (i sick) cold() map[string]int {
	return map[string]int{
		"/blobs/" + i.want[1].Layers[0].Digest: i.ill.blob,
		"/manifests/" + i.want[0].Digest:       i.document,
		"/manifests/v1":                        i.document,
	}
}

// fails asks for what cannot be had.
func (s *server) fails(ctx context.Context, path string, want int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if want == orCut && errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	switch {
	case want == orCut && resp.StatusCode == http.StatusOK:
		if err == nil {
			return fmt.Errorf("GET %s: a whole body, want one that is cut short", path)
		}
	case want == orCut && resp.StatusCode != http.StatusBadGateway, want != orCut && resp.StatusCode != want:
		return fmt.Errorf("GET %s: %s, want %d", path, resp.Status, cmp.Or(want, http.StatusBadGateway))
	case want == http.StatusTooManyRequests && resp.Header.Get("Retry-After") == "":
		return fmt.Errorf("GET %s: %s without Retry-After", path, resp.Status)
	}
	return nil
}

// An upstream that says when to ask again is left alone for that long, and then asked.
func TestPullThroughRetryAfter(t *testing.T) {
	t.Parallel()
	const wait = time.Second
	u := newUpstream(t)
	want := u.push(t, shape{seed: 33, layers: 1, size: 1000, repository: "app", tags: "v1 v2"})
	u.spoil("GET /v2/app/", 1, status(http.StatusTooManyRequests, "Retry-After", "1"))
	s := start(t, through(u))
	begin := time.Now()
	if err := s.fails(t.Context(), "/v2/lab/app/manifests/v1", http.StatusTooManyRequests); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another tag is there", func() bool { return s.status(t, "/v2/lab/app/manifests/v2") == http.StatusOK })
	if took := time.Since(begin); took < wait {
		t.Errorf("the upstream was asked again after %v, and wanted %v", took, wait)
	}
	sameImage(t, "after a while", s.image(t, "lab/app", "v1"), want)
}

// A connection that breaks half way is taken up again where it broke, and the client sees nothing of it.
func TestPullThroughResumes(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	want := u.push(t, shape{seed: 31, platforms: 1, layers: 2, size: 1 << 20, repository: "app", tags: "v1"})
	s := start(t, through(u))
	for _, l := range want[1].Layers {
		u.spoil("GET /v2/app/blobs/"+l.Digest, 1, cut)
	}
	sameImage(t, "through cut connections", s.image(t, "lab/app", "v1"), want)
	for _, l := range want[1].Layers {
		asked := u.requests("GET /v2/app/blobs/" + l.Digest)
		if len(asked) != 2 || !resumesWithin(asked[len(asked)-1].span, l.Size/2) {
			t.Errorf("%s: %d requests, the last one for %q; want one for the rest of %d bytes", l.Digest, len(asked), asked[len(asked)-1].span, l.Size)
		}
	}
	s.checkKept(t)
}

// A client that leaves harms neither the others nor the fetch.
func TestPullThroughClientLeaves(t *testing.T) {
	u := newUpstream(t)
	want := u.push(t, shape{seed: 32, layers: 1, size: 1 << 20, repository: "app", tags: "v1"})
	s := start(t, through(u))
	layer, release := want[0].Layers[0], make(chan struct{})
	u.spoil("GET /v2/app/blobs/", 1, hold(release))
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		left <- fetchBlob(ctx, http.DefaultClient, s.URL+"/v2/lab/app/blobs/"+layer.Digest, layer)
	}()
	eventually(t, "half of the layer is here", func() bool { return s.growing(t) >= layer.Size/2 })
	leave()
	if err := <-left; err == nil {
		t.Fatal("the client got all")
	}
	close(release)
	eventually(t, "the layer is kept", func() bool { return exists(t, s.keptFile(layer)) })
	sameImage(t, "for the next client", s.image(t, "lab/app", "v1"), want)
	u.once(t)
}
