package binarycache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/nar"
	"github.com/nixreg/nixreg/store/storetest"
	"github.com/nixreg/nixreg/store/web"
)

func TestRemoteContract(t *testing.T) {
	by := newSigner("test-1")
	storetest.Test(t, func(t *testing.T, objs []storetest.Fixture) store.Store {
		c := serve(t, makeCache(t, nar.Zstd, by, objs...))
		return open(t, Options{Remote: c, Name: c.url, Keys: []PublicKey{by.public(t)}, Records: new(memory)})
	})
}

// inBubble gives a test a cache of one path, and time that it can let pass.
func inBubble(t *testing.T, test func(t *testing.T, c *fakeCache, p store.Path, opts Options)) {
	f := storetest.NewFixture("a-1", storetest.Files{"f": storetest.File("a")})
	by := newSigner("test-1")
	cache, keys := makeCache(t, nar.XZ, by, f), []PublicKey{by.public(t)}
	synctest.Test(t, func(t *testing.T) {
		c := newFake(cache)
		test(t, c, f.Path, Options{Remote: c, Name: "https://cache.example.org", Keys: keys, Records: new(memory)})
	})
}

// found looks p up and tells whether it was found; any error but that of an absent path fails the test.
func found(t *testing.T, s *Store, p store.Path) bool {
	t.Helper()
	switch got, err := s.Find(t.Context(), p.Hash()); {
	case errors.Is(err, fs.ErrNotExist):
		return false
	case err != nil || got != p:
		t.Fatalf("%s, %v", got, err)
	}
	return true
}

// A narinfo is believed for a day, in memory and over a restart; then it is asked for again.
func TestRemoteFresh(t *testing.T) {
	inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
		info := p.Hash() + narinfoSuffix
		for _, tc := range []struct {
			wait  time.Duration
			asked int
		}{{0, 1}, {23 * time.Hour, 0}, {time.Hour - time.Second, 0}, {time.Second, 1}, {25 * time.Hour, 1}, {time.Second, 0}} {
			time.Sleep(tc.wait)
			s := open(t, opts) // a restart
			for range 2 {
				if !found(t, s, p) {
					t.Fatal("not found")
				}
			}
			if n := c.asked(info); n != tc.asked {
				t.Errorf("%+v: asked %d times", tc, n)
			}
		}
		s := open(t, Options{Remote: c, Name: opts.Name, Keys: opts.Keys})
		found(t, s, p)
		c.asked(info)
		time.Sleep(24*time.Hour - time.Second)
		if found(t, s, p); c.asked(info) != 0 {
			t.Error("asked within a day")
		}
		time.Sleep(time.Second)
		if found(t, s, p); c.asked(info) != 1 {
			t.Error("not asked after a day")
		}
	})
}

// What was recorded under other keys, or by somebody else, is worth nothing.
func TestRecordsAreNotTrusted(t *testing.T) {
	inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
		if !found(t, open(t, opts), p) {
			t.Fatal("not found")
		}
		other := opts
		other.Keys = []PublicKey{newSigner("other-1").public(t)}
		if found(t, open(t, other), p) {
			t.Error("found under another key")
		}
		if !found(t, open(t, opts), p) {
			t.Error("not found under the first key again")
		}
		records := opts.Records.(*memory)
		for key, value := range records.m {
			records.m[key] = bytes.Replace(value, []byte("NarSize: "), []byte("NarSize: 1"), 1)
		}
		c.asked(p.Hash() + narinfoSuffix)
		if found(t, open(t, opts), p); c.asked(p.Hash()+narinfoSuffix) != 1 {
			t.Error("a changed record was used")
		}
	})
}

func TestRemoteMissing(t *testing.T) {
	inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
		s, info := open(t, opts), p.Hash()+narinfoSuffix
		file := c.files[info]
		c.set(func() { delete(c.files, info) })
		before := state(t, s)
		for range 3 {
			if found(t, s, p) {
				t.Fatal("found")
			}
		}
		c.set(func() { c.files[info] = file })
		time.Sleep(missingFor - time.Nanosecond)
		if found(t, s, p) || c.asked(info) != 1 {
			t.Error("asked again within a minute")
		}
		if state(t, s) != before {
			t.Error("the state moved though no answer was another one")
		}
		time.Sleep(time.Nanosecond)
		if !found(t, s, p) || c.asked(info) != 1 {
			t.Error("not asked again after a minute")
		}
		if state(t, s) == before {
			t.Error("the state did not move")
		}
		before = state(t, s)
		time.Sleep(time.Hour)
		if state(t, s) == before {
			t.Error("the state did not move within an hour")
		}
	})
}

func state(t *testing.T, s *Store) string {
	t.Helper()
	st, err := s.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// A cache that cannot be asked: nobody waits for it again at once, nothing is taken as absent, and what it said before is
// used.
func TestRemoteDown(t *testing.T) {
	inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
		var log bytes.Buffer
		opts.Log = slog.New(slog.NewTextHandler(&log, nil))
		s, info := open(t, opts), p.Hash()+narinfoSuffix
		if !found(t, s, p) {
			t.Fatal("not found")
		}
		c.asked(info)
		c.set(func() { c.fail = store.ErrUnavailable })
		other := strings.Repeat("1", store.HashLen)
		for range 3 {
			if _, err := s.Find(t.Context(), other); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("another path: %v", err)
			}
		}
		if n := c.asked(other + narinfoSuffix); n != 1 {
			t.Errorf("asked %d times", n)
		}
		time.Sleep(25 * time.Hour)
		for range 3 {
			if !found(t, s, p) || !found(t, open(t, opts), p) {
				t.Error("the old answer is not used")
			}
			time.Sleep(downFor)
		}
		if n := strings.Count(log.String(), "what it said before is used"); n == 0 || n > 1+3 {
			t.Errorf("%d lines in the log: %s", n, log.String())
		}
		c.set(func() { c.fail = nil })
		time.Sleep(downMost)
		if _, err := s.Find(t.Context(), other); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("another path, after the cache came back: %v", err)
		}
	})
}

// A cache that is down at the start is asked for its nix-cache-info later; many waiting callers ask once.
func TestRemoteCacheInfo(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       error
	}{
		{"another store", "StoreDir: /gnu/store\n", errors.ErrUnsupported},
		{"none", "", store.ErrUnavailable},
		{"too large", strings.Repeat("a: b\n", maxNarinfo), ErrCorrupt},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
				good := c.files[cacheInfoName]
				c.set(func() { c.fail = store.ErrUnavailable })
				s := open(t, opts)
				if _, err := s.Find(t.Context(), p.Hash()); !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("down: %v", err)
				}
				c.set(func() {
					c.fail = nil
					c.files[cacheInfoName] = &fstest.MapFile{Data: []byte(tc.text)}
					if tc.text == "" {
						delete(c.files, cacheInfoName)
					}
				})
				time.Sleep(downFor)
				for range 3 {
					if _, err := s.Find(t.Context(), p.Hash()); !errors.Is(err, tc.want) || !strings.Contains(err.Error(), opts.Name) {
						t.Error(err)
					}
				}
				if n := c.asked(cacheInfoName); n != 2 {
					t.Errorf("asked %d times", n)
				}
				c.set(func() { c.files[cacheInfoName] = good })
				time.Sleep(2 * downFor)
				if !found(t, s, p) {
					t.Error("not found when the cache was right")
				}
			})
		})
	}
}

// However many ask, a narinfo is asked for once, and one that does not come holds up no other; a caller that gives up ends
// nothing.
func TestRemoteManyCallers(t *testing.T) {
	inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
		s := open(t, opts)
		found(t, s, p) // nix-cache-info
		c.set(func() { c.gate = make(chan struct{}) })
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range 200 {
			hash := fmt.Sprintf("%032d", i/2)
			wg.Go(func() {
				want, ctx := fs.ErrNotExist, ctx
				if i%2 == 1 {
					ctx = t.Context()
				} else {
					want = context.Canceled
				}
				if _, err := s.Find(ctx, hash); !errors.Is(err, want) {
					t.Errorf("%d: %v", i, err)
				}
			})
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		gate := c.gate
		c.set(func() { c.gate = nil })
		if _, err := s.Find(t.Context(), strings.Repeat("1", store.HashLen)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("another path meanwhile: %v", err)
		}
		close(gate)
		wg.Wait()
		for i := range 100 {
			if n := c.asked(fmt.Sprintf("%032d", i) + narinfoSuffix); n != 1 {
				t.Errorf("%d was asked for %d times", i, n)
			}
		}
	})
}

// A narinfo whose archive is gone is asked for again.
func TestRemoteArchiveGone(t *testing.T) {
	inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
		s, info := open(t, opts), p.Hash()+narinfoSuffix
		found(t, s, p)
		for name := range c.files {
			if strings.HasPrefix(name, "nar/") {
				c.set(func() { delete(c.files, name) })
			}
		}
		if _, err := s.Open(t.Context(), p); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), string(p)) {
			t.Error(err)
		}
		c.asked(info)
		c.set(func() { delete(c.files, info) })
		if found(t, s, p) || found(t, open(t, opts), p) || c.asked(info) != 2 {
			t.Error("the old narinfo is still used")
		}
	})
}

func TestRemoteClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
		s := open(t, opts)
		c.set(func() { c.gate = make(chan struct{}) })
		got := make(chan error)
		go func() {
			_, err := s.Find(context.Background(), p.Hash())
			got <- err
		}()
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-got; !errors.Is(err, fs.ErrClosed) {
			t.Error(err)
		}
		if _, err := s.Find(t.Context(), p.Hash()); !errors.Is(err, fs.ErrClosed) {
			t.Error(err)
		}
	})
}

func TestRemoteCannotList(t *testing.T) {
	s := open(t, Options{Remote: newFake(nil)})
	for _, err := range s.List(t.Context()) {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Error(err)
		}
	}
	if !s.Distant() {
		t.Error("a remote cache is not distant")
	}
}

// Both kinds of answers have a bound in bytes, and those of one kind evict none of the other.
func TestAnswersBound(t *testing.T) {
	x := newRemote(newFake(nil), &trust{}, nil)
	defer x.close()
	keep := func(hash string, a *answer) {
		if _, err := x.settle(hash, nil, a, nil); err != nil {
			t.Fatal(err)
		}
	}
	text := strings.Repeat("x", maxParsed/8)
	for i := range 10 {
		keep(fmt.Sprint("found", i), &answer{info: &narinfo{}, text: text})
	}
	for i := range 200_000 {
		keep(fmt.Sprint("missing", i), &answer{err: fs.ErrNotExist})
	}
	if w := x.found.Weight(); w > maxParsed || w < maxParsed/2 {
		t.Errorf("narinfos of %d bytes", w)
	}
	if w := x.missing.Weight(); w > missingBytes || w < missingBytes/2 {
		t.Errorf("missing ones of %d bytes", w)
	}
	keep("found9", &answer{err: fs.ErrNotExist})
	if a := x.remembered("found9"); a.info != nil || x.changes.Load() != 1 {
		t.Errorf("%v, %d changes", a, x.changes.Load())
	}
}

// TestCutWithoutALength: an archive that comes in chunks, of which nothing says how many there are, is fetched anew after
// a cut. It is right if it has its NarHash. A server that cuts each time is not asked for ever.
func TestCutWithoutALength(t *testing.T) {
	for _, c := range []nar.Compression{nar.None, nar.XZ, nar.Zstd} {
		t.Run(string(c), func(t *testing.T) {
			t.Parallel()
			cutWithoutALength(t, c)
		})
	}
}

func cutWithoutALength(t *testing.T, compression nar.Compression) {
	by := newSigner("test-1")
	noise := make([]byte, 300_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	f := storetest.NewFixture("a-1", storetest.Files{"f": storetest.File(string(noise))})
	cache := makeCache(t, compression, by, f)
	for name, tc := range map[string]struct {
		length bool
		cuts   int32
		served bool
	}{
		"whole":             {false, 0, true}, // as today
		"cut with a length": {true, 1, true},  // as today
		"cut without":       {false, 1, true},
		"cut twice":         {false, 2, true},
		"cut for ever":      {false, 1000, false}, // as today
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			files := http.FileServerFS(cache)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasPrefix(r.URL.Path, "/nar/") {
					files.ServeHTTP(w, r)
					return
				}
				data := cache[strings.TrimPrefix(r.URL.Path, "/")].Data
				if tc.length {
					w.Header().Set("Content-Length", fmt.Sprint(len(data)))
				}
				n := asked.Add(1)
				w.Write(data[:len(data)/2])
				w.(http.Flusher).Flush()
				if n <= tc.cuts {
					panic(http.ErrAbortHandler)
				}
				w.Write(data[len(data)/2:])
			}))
			defer srv.Close()
			where, _, err := web.ParseLocation(srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			client, err := web.New(t.Context(), web.Options{Location: where})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			s := open(t, Options{Remote: client, Name: srv.URL, Keys: []PublicKey{by.public(t)}})
			tree, err := s.Open(t.Context(), f.Path)
			if (err == nil) != tc.served || asked.Load() > 20 {
				t.Fatalf("asked %d times: %v", asked.Load(), err)
			}
			if err == nil {
				tree.Close()
				storetest.Check(t, s, f.Path)
			} else if !errors.Is(err, store.ErrUnavailable) {
				t.Error(err)
			}
		})
	}
}
