package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/registry"
	"github.com/nixreg/nixreg/registry/upstream"
)

// Of a crowd with as many different questions only some are asked at once, and who leaves before his is asked leaves
// nothing behind. A question that follows from another one waits for no turn.
func TestQuestionsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &hanging{}
		m, cache := newHanging(t, up)
		for i := range maxRequests {
			up.give(t, m, fmt.Sprint("moved", i))
		}
		up.moved = make(chan struct{})
		time.Sleep(defaultTTL)
		ctx, leave := context.WithCancel(t.Context())
		for i := range maxRequests {
			go m.Manifest(t.Context(), registry.Request{Repository: "app", Tag: fmt.Sprint("moved", i), Accept: everything, Warn: func(string) {}})
		}
		synctest.Wait()
		for i := range 1000 {
			go m.Manifest(ctx, registry.Request{Repository: "app", Tag: fmt.Sprint("new", i), Accept: everything})
		}
		synctest.Wait()
		if n := up.asked(); n != maxRequests {
			t.Errorf("%d questions at once, want %d", n, maxRequests)
		}
		leave()
		synctest.Wait()
		close(up.moved)
		synctest.Wait()
		if n := up.asked(); n != 2*maxRequests {
			t.Errorf("%d questions, want %d: whether the tags have moved, and what they are now", n, 2*maxRequests)
		}
		m.Close()
		cache.Close()
	})
}

// takeAllTurns asks as many questions as there are turns, of an upstream that hangs from now on.
func takeAllTurns(t *testing.T, m *Mirror, up *hanging) (leave context.CancelFunc) {
	t.Helper()
	up.hang = true
	ctx, leave := context.WithCancel(t.Context())
	for i := range maxRequests {
		go m.Referrers(ctx, "app", digestOf(fmt.Sprint(i)))
	}
	synctest.Wait()
	return leave
}

// Who has a copy of a list does not wait long for a newer one, nor do tags of which there is a copy wait for a turn.
func TestCopyIsServedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &hanging{}
		m, cache := newHanging(t, up)
		up.give(t, m, "one")
		if _, err := m.Tags(t.Context(), "app"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(defaultTTL)
		leave := takeAllTurns(t, m, up)
		begun := time.Now()
		warned := 0
		_, err := m.Manifest(t.Context(), registry.Request{Repository: "app", Tag: "one", Accept: everything, Warn: func(string) { warned++ }})
		if err != nil || warned != 1 || time.Since(begun) > copyWait {
			t.Errorf("a tag, while all turns are taken: %v, %d warnings, after %v", err, warned, time.Since(begun))
		}
		begun = time.Now()
		tags, err := m.Tags(t.Context(), "app")
		if err != nil || len(tags) != 1 || time.Since(begun) > copyWait {
			t.Errorf("tags: %q, %v, after %v", tags, err, time.Since(begun))
		}
		leave()
		m.Close()
		cache.Close()
	})
}

// What is known to fail is told at once, also while all turns are taken.
func TestKnownFailuresTakeNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &hanging{}
		m, cache := newHanging(t, up)
		up.give(t, m, "one")
		time.Sleep(defaultTTL)
		leave := takeAllTurns(t, m, up)
		gone := &upstream.Error{Registry: "lab", Status: http.StatusNotFound, Err: errors.New("unknown")}
		d, begun := digestOf("gone"), time.Now()
		for _, key := range []string{tagKey("app", "gone"), manifestKey("app", d), "stat/app@" + d.String()} {
			m.failures.put(key, gone)
		}
		for _, r := range []registry.Request{{Tag: "gone"}, {Digest: d}} {
			r.Repository, r.Accept = "app", everything
			if _, err := m.Manifest(t.Context(), r); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s%s: %v", r.Tag, r.Digest, err)
			}
		}
		if _, err := m.Blob(t.Context(), registry.BlobRequest{Repository: "app", Digest: d, Head: true}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("blob: %v", err)
		}
		m.failures.putDocument("x", &upstream.Error{Registry: "lab", Err: errors.New("down")})
		warned := 0
		r := registry.Request{Repository: "app", Tag: "one", Accept: everything, Warn: func(string) { warned++ }}
		if _, err := m.Manifest(t.Context(), r); err != nil || warned != 1 {
			t.Errorf("a tag of which there is a copy: %v, %d warnings", err, warned)
		}
		if wait := time.Since(begun); wait > 0 {
			t.Errorf("waited for %v", wait)
		}
		leave()
		m.Close()
		cache.Close()
	})
}

// That a blob cannot be had from one repository is no answer for another one, whoever asked first.
func TestFetchFromAnotherRepository(t *testing.T) {
	f := newFixture(t)
	m, _, layer := f.hub.image("app", "latest", "app")
	mustPull(t, f, "app", "latest", m)
	arrived, release := make(chan struct{}), make(chan struct{})
	f.hub.fail(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/other/") {
			close(arrived)
			<-release
		}
		return false
	})
	other := make(chan error)
	go func() { other <- second(f.read(t, "other", layer)) }()
	<-arrived
	waits := &waiting{Context: t.Context(), begun: make(chan struct{})}
	own := make(chan error)
	go func() {
		_, err := f.Blob(waits, registry.BlobRequest{Repository: "app", Digest: layer})
		own <- err
	}()
	<-waits.begun
	close(release)
	checkStatus(t, "who has it not", <-other, 404)
	if err := <-own; err != nil {
		t.Errorf("who has it: %v", err)
	}
	mustRead(t, f, "app", layer, "layer of app")
}

// waiting is a context that tells when somebody waits for its end.
type waiting struct {
	context.Context
	begun chan struct{}
}

func (w *waiting) Done() <-chan struct{} {
	select {
	case <-w.begun:
	default:
		close(w.begun)
	}
	return w.Context.Done()
}

// A manifest makes nothing its repository's that the upstream takes without having it: layers to be had elsewhere, and
// what an index lists.
func TestNobodyVouches(t *testing.T) {
	f := newFixture(t)
	m, _, layer := f.hub.image("secret", "latest", "secret")
	mustPull(t, f, "secret", "latest", m)
	mustRead(t, f, "secret", layer, "layer of secret")
	f.hub.mu.Lock()
	foreign := f.hub.document("evil", "foreign", types.OCIManifestSchema1, fmt.Sprintf(
		`{"schemaVersion":2,"layers":[{"mediaType":%q,"digest":%q,"size":15,"urls":["http://localhost/"]}]}`, types.OCIRestrictedLayer, layer))
	f.hub.mu.Unlock()
	index := f.hub.index("evil", "index", map[string]v1.Hash{"amd64": m})
	mustPull(t, f, "evil", "foreign", foreign)
	mustPull(t, f, "evil", "index", index)
	checkStatus(t, "layer", second(f.read(t, "evil", layer)), 404)
	checkStatus(t, "manifest", errorOf(f.pull(t, "evil", m.String())), 404)
}

// A question that panics is an error for who asked, and the next one is asked.
func TestPanickingQuestion(t *testing.T) {
	f := newFixture(t)
	for range 2 {
		_, err := once(t.Context(), &f.flights, "key", func(context.Context) (int, error) { panic(errors.ErrUnsupported) })
		if err == nil || errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("panic: %v", err)
		}
	}
	if n, err := once(t.Context(), &f.flights, "key", func(context.Context) (int, error) { return 1, nil }); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// However many names somebody asks for in vain, what is remembered of it has a bound, and that the upstream wants fewer requests
// is not evicted.
func TestFailuresAreBounded(t *testing.T) {
	now := time.Now()
	f := newFailures(func() time.Time { return now })
	f.putDocument("first", &upstream.Error{Registry: "lab", Status: http.StatusTooManyRequests, Err: errors.New("slow down")})
	for i := range 50_000 {
		key := fmt.Sprint("tag/app:", i)
		if err := f.get(key, busyKey); err == nil {
			t.Fatalf("after %d names the upstream would be asked", i)
		}
		f.put(key, &upstream.Error{Registry: "lab", Status: http.StatusNotFound, Err: fs.ErrNotExist})
	}
	if w := f.known.Weight(); w > failureBytes {
		t.Errorf("%d bytes", w)
	}
	now = now.Add(busyFor)
	if err := f.get("next", busyKey); err != nil {
		t.Errorf("after its time: %v", err)
	}
}
