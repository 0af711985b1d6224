package binarycache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixreg/nixreg/store"
)

// While a cache is left alone, what is recorded of it is served: narinfo files and archives, after a restart too.
func TestDownServesRecords(t *testing.T) {
	inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
		spool, err := OpenSpool(SpoolOptions{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		defer spool.Close()
		opts.Spool = spool
		useTree(t, open(t, opts), p)
		for _, age := range []time.Duration{0, 25 * time.Hour} {
			time.Sleep(age)
			s := open(t, opts) // a restart
			c.set(func() { c.fail = store.ErrUnavailable })
			if _, err := s.Find(t.Context(), strings.Repeat("1", store.HashLen)); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("another path: %v", err)
			}
			c.set(func() { clear(c.count) })
			useTree(t, s, p)
			if len(c.count) > 0 {
				t.Errorf("age %v: asked for %v", age, c.count)
			}
		}
	})
}

func useTree(t *testing.T, s *Store, p store.Path) {
	t.Helper()
	tree, err := s.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	tree.Close()
}

// A dead cache is tried again after growing pauses, however often it is wanted; after an answer they begin anew.
func TestDownPauses(t *testing.T) {
	inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
		s, start := open(t, opts), time.Now()
		other := strings.Repeat("1", store.HashLen)
		tries := func(seconds int) (at []int) {
			for range seconds {
				_, err := s.Find(t.Context(), other)
				if !errors.Is(err, store.ErrUnavailable) {
					t.Fatal(err)
				}
				if c.asked(cacheInfoName)+c.asked(other+narinfoSuffix) > 0 {
					at = append(at, int(time.Since(start)/time.Second))
				}
				time.Sleep(time.Second)
			}
			return at
		}
		c.set(func() { c.fail = store.ErrUnavailable })
		if got, want := tries(400), []int{0, 5, 15, 35, 75, 155, 275, 395}; !slices.Equal(got, want) {
			t.Errorf("tried after %v seconds", got)
		}
		c.set(func() { c.fail = nil })
		time.Sleep(downMost)
		if !found(t, s, p) {
			t.Error("not found when the cache was back")
		}
		c.set(func() { c.fail = store.ErrUnavailable })
		start = time.Now()
		if got, want := tries(20), []int{0, 5, 15}; !slices.Equal(got, want) {
			t.Errorf("the second time: tried after %v seconds", got)
		}
	})
}

// oneBad is a cache that fails for files, as bad says.
type oneBad struct {
	*fakeCache
	bad func(name string) error
}

func (o oneBad) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	b, err := o.fakeCache.Get(ctx, name, limit)
	if bad := o.bad(name); bad != nil && (err == nil || errors.Is(err, fs.ErrNotExist)) {
		return nil, fmt.Errorf("%s: %w", name, bad)
	}
	return b, err
}

func (o oneBad) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	r, err := o.fakeCache.Open(ctx, name)
	if bad := o.bad(name); bad != nil && err == nil {
		r.Close()
		return nil, fmt.Errorf("%s: %w", name, bad)
	}
	return r, err
}

// absentIs is the answer of a cache for each narinfo that it has not got.
func absentIs(c *fakeCache, p store.Path, err error) oneBad {
	return oneBad{c, func(name string) error {
		if strings.HasSuffix(name, narinfoSuffix) && name != p.Hash()+narinfoSuffix {
			return err
		}
		return nil
	}}
}

// later is an error that says for how long the cache wants to be left alone.
type later time.Duration

func (l later) Error() string             { return "too many requests" }
func (l later) Unwrap() error             { return store.ErrUnavailable }
func (l later) RetryAfter() time.Duration { return time.Duration(l) }

var errRefused = fmt.Errorf("401: %w: %w", fs.ErrPermission, store.ErrUnavailable)

// Whatever a cache answers for paths that it does not have, and however many of them somebody asks for, others get theirs, and
// the cache is looked at no more than once in aliveFor.
func TestFailuresOfOnePathAreItsOwn(t *testing.T) {
	for name, tc := range map[string]struct {
		answer, want error
	}{
		"500": {store.ErrUnavailable, store.ErrUnavailable}, "401": {errRefused, store.ErrUnavailable},
		"429": {later(time.Minute), store.ErrUnavailable}, "403": {fs.ErrPermission, fs.ErrNotExist}, "404": {fs.ErrNotExist, fs.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
				opts.Remote, opts.Records = absentIs(c, p, tc.answer), nil
				spool, err := OpenSpool(SpoolOptions{Dir: t.TempDir(), Size: -1})
				if err != nil {
					t.Fatal(err)
				}
				defer spool.Close()
				opts.Spool = spool
				s := open(t, opts)
				c.asked(cacheInfoName)
				for n := range 300 {
					_, err := s.Find(t.Context(), fmt.Sprintf("%032d", n))
					if !errors.Is(err, tc.want) || errors.Is(err, fs.ErrNotExist) != (tc.want == fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) && tc.answer != errRefused {
						t.Fatalf("after %d: %v", n, err)
					}
					if n%10 == 0 { // one that is new to the store each time, as far as it is remembered
						fresh := open(t, opts)
						useTree(t, fresh, p)
						fresh.Close()
					}
					useTree(t, s, p)
					time.Sleep(100 * time.Millisecond)
				}
				if n := c.asked(cacheInfoName); n > 1+30+300*100/5000+1 { // of this store, of the 30 others, and of doubts in 30 s
					t.Errorf("nix-cache-info was asked for %d times", n)
				}
			})
		})
	}
}

// A failure is remembered as that, for a short time or as long as the cache says: the cache is not asked again meanwhile, and
// nothing counts as absent.
func TestFailuresAreRemembered(t *testing.T) {
	for _, f := range []struct {
		answer error
		want   time.Duration
	}{{store.ErrUnavailable, failedFor}, {errRefused, failedFor}, {later(30 * time.Second), 30 * time.Second}, {later(100 * time.Hour), time.Hour}} {
		inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
			bad := strings.Repeat("1", store.HashLen)
			opts.Remote = absentIs(c, p, f.answer)
			s := open(t, opts)
			for _, tc := range []struct {
				wait  time.Duration
				asked int
			}{{0, 1}, {f.want - 1, 0}, {1, 1}} {
				time.Sleep(tc.wait)
				for range 3 {
					if _, err := s.Find(t.Context(), bad); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, fs.ErrNotExist) {
						t.Errorf("%v: %v", f.answer, err)
					}
				}
				if n := c.asked(bad + narinfoSuffix); n != tc.asked {
					t.Errorf("%v, after %v: asked %d times", f.answer, tc.wait, n)
				}
			}
		})
	}
}

// What is left of a pause is in the error, whether it is of one path or of the whole cache, and whatever the reason.
func TestErrorsTellThePause(t *testing.T) {
	for name, tc := range map[string]struct {
		answer error
		all    bool // of the cache
		html   bool // nix-cache-info is something else
		want   time.Duration
	}{
		"path": {later(2 * time.Minute), false, false, 2 * time.Minute}, "path, unasked": {store.ErrUnavailable, false, false, failedFor},
		"cache": {later(2 * time.Minute), true, false, 2 * time.Minute}, "cache, unasked": {store.ErrUnavailable, true, false, downFor},
		"no cache": {nil, false, true, downFor},
	} {
		inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
			opts.Remote = absentIs(c, p, tc.answer)
			if tc.html {
				c.files[cacheInfoName].Data = []byte("StoreDir: /elsewhere\n")
			}
			if tc.all {
				c.fail = tc.answer
			}
			s := open(t, opts)
			for _, passed := range []time.Duration{0, time.Second, 3 * time.Second} {
				time.Sleep(passed)
				tc.want -= passed
				_, err := s.Find(t.Context(), strings.Repeat("1", store.HashLen))
				if got := retryAfter(err); got != tc.want {
					t.Errorf("%s, after %v: %v, want %v: %v", name, passed, got, tc.want, err)
				}
				if tc.all || tc.html {
					if _, err := s.source.Open(t.Context(), "nar/x"); retryAfter(err) != tc.want || !errors.Is(err, store.ErrUnavailable) {
						t.Errorf("%s, after %v: of an archive %v, want %v: %v", name, passed, retryAfter(err), tc.want, err)
					}
				}
			}
		})
	}
}

// A narinfo that was there, and cannot be had any more, is used as it was, and stays recorded; one that is forbidden is gone.
func TestFailureOfAnOldNarinfo(t *testing.T) {
	for name, tc := range map[string]struct {
		answer error
		found  bool
	}{"500": {store.ErrUnavailable, true}, "401": {errRefused, true}, "403": {fs.ErrPermission, false}} {
		inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
			found(t, open(t, opts), p)
			time.Sleep(25 * time.Hour)
			opts.Remote = oneBad{c, func(name string) error {
				if name == p.Hash()+narinfoSuffix {
					return tc.answer
				}
				return nil
			}}
			s := open(t, opts)
			before := state(t, s)
			c.asked(p.Hash() + narinfoSuffix)
			for range 3 {
				if found(t, s, p) != tc.found || found(t, open(t, opts), p) != tc.found {
					t.Errorf("%s: found is not %v", name, tc.found)
				}
			}
			if n := c.asked(p.Hash() + narinfoSuffix); n != 4 { // once by each store
				t.Errorf("%s: asked %d times", name, n)
			}
			if state(t, s) != before {
				t.Errorf("%s: the state moved", name)
			}
		})
	}
}

// What is forbidden is absent where nix-cache-info can be read, and nobody's business where not: credentials are wrong then.
func TestForbidden(t *testing.T) {
	inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
		var log bytes.Buffer
		opts.Log = slog.New(slog.NewTextHandler(&log, nil))
		all := false
		opts.Remote = oneBad{c, func(name string) error {
			if all || name != cacheInfoName {
				return fmt.Errorf("403: %w", fs.ErrPermission)
			}
			return nil
		}}
		s := open(t, opts)
		for range 3 {
			if found(t, s, p) {
				t.Error("found")
			}
		}
		if n := strings.Count(log.String(), "count as absent"); n != 1 {
			t.Errorf("%d lines in the log: %s", n, &log)
		}
		all = true
		time.Sleep(missingFor)
		for range 3 {
			if _, err := s.Find(t.Context(), p.Hash()); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "403") {
				t.Error(err)
			}
		}
		if _, err := open(t, opts).Find(t.Context(), p.Hash()); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("from the start: %v", err)
		}
		all = false
		time.Sleep(downMost)
		if found(t, s, p) {
			t.Error("found")
		}
	})
}

// Credentials that are errRefused for everything are not tried again and again.
func TestRefusedForEverything(t *testing.T) {
	for _, answer := range []error{errRefused, later(10 * time.Minute)} {
		inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
			opts.Remote = oneBad{c, func(string) error { return answer }}
			s := open(t, opts)
			for n := range 600 { // seconds
				if _, err := s.Find(t.Context(), fmt.Sprintf("%032d", n)); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
			}
			total := 0
			for _, n := range c.count {
				total += n
			}
			if most := map[bool]int{true: 9, false: 1}[answer == errRefused]; total > most {
				t.Errorf("%v: %d requests in ten minutes", answer, total)
			}
		})
	}
}

// An archive that cannot be had, or is forbidden, is no matter of others.
func TestFailuresOfOneArchive(t *testing.T) {
	for name, tc := range map[string]struct{ answer, want error }{
		"500": {store.ErrUnavailable, store.ErrUnavailable}, "401": {errRefused, store.ErrUnavailable},
		"403": {fs.ErrPermission, fs.ErrNotExist}, "404": {fs.ErrNotExist, fs.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
				opts.Remote = oneBad{c, func(name string) error {
					if strings.HasPrefix(name, "nar/") {
						return tc.answer
					}
					return nil
				}}
				s := open(t, opts)
				found(t, s, p)
				c.asked(cacheInfoName)
				for range 100 {
					if _, err := s.Open(t.Context(), p); !errors.Is(err, tc.want) || errors.Is(err, fs.ErrNotExist) != (tc.want == fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) && tc.answer != errRefused {
						t.Fatal(err)
					}
					if !found(t, s, p) {
						t.Fatal("its narinfo is not found")
					}
					time.Sleep(100 * time.Millisecond)
				}
				if n := c.asked(cacheInfoName); n > 3 {
					t.Errorf("nix-cache-info was asked for %d times", n)
				}
			})
		})
	}
}

// While one probes a cache that was down, nobody waits: who has an old answer gets that, the prober too.
func TestDownOneProbe(t *testing.T) {
	inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
		s, other := open(t, opts), strings.Repeat("1", store.HashLen)
		found(t, s, p)
		c.set(func() { c.fail = store.ErrUnavailable })
		s.Find(t.Context(), other)
		for _, first := range []string{other, p.Hash()} {
			time.Sleep(25 * time.Hour)
			c.set(func() { c.gate, c.most, c.count = make(chan struct{}), 0, make(map[string]int) })
			probed := make(chan error, 1)
			go func() {
				_, err := s.Find(context.Background(), first)
				probed <- err
			}()
			synctest.Wait()
			if !found(t, s, p) {
				t.Error("an old answer is not used")
			}
			if _, err := s.Find(t.Context(), strings.Repeat("2", store.HashLen)); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("another path: %v", err)
			}
			if _, err := s.Open(t.Context(), p); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("an archive: %v", err)
			}
			if first == p.Hash() && len(probed) == 0 {
				t.Error("the prober waits though there is an old answer")
			}
			close(c.gate)
			if err := <-probed; (err == nil) != (first == p.Hash()) || c.most != 1 || c.asked(cacheInfoName) != 1 {
				t.Errorf("the prober: %v; %d requests at once", err, c.most)
			}
			c.set(func() { c.gate = nil })
			synctest.Wait()
		}
		c.set(func() { c.fail = nil })
		time.Sleep(downMost)
		if _, err := s.Find(t.Context(), other); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after the cache came back: %v", err)
		}
	})
}

// An archive that cannot be had makes who comes next look at the cache first; a prober that gives up makes room for the next.
func TestDownByArchive(t *testing.T) {
	inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
		s := open(t, opts)
		x := s.index.(*remote)
		found(t, s, p)
		c.set(func() { c.fail = store.ErrUnavailable; clear(c.count) })
		for range 3 {
			if _, err := s.Open(t.Context(), p); !errors.Is(err, store.ErrUnavailable) {
				t.Error(err)
			}
		}
		if c.asked(cacheInfoName) != 1 || len(c.count) != 2 {
			t.Errorf("asked for %v", c.count)
		}
		time.Sleep(downMost)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		x.breaker.turn <- struct{}{} // somebody else is at it
		if _, err := x.Open(ctx, "nar/x"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		<-x.breaker.turn
		c.set(func() { c.fail = nil })
		useTree(t, s, p)
	})
}

// A cache whose nix-cache-info has become something else gives no archives, and loses no narinfo for that.
func TestDownIsNoWordOfAnArchive(t *testing.T) {
	inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
		found(t, open(t, opts), p)
		c.set(func() { c.files[cacheInfoName].Data = bytes.Repeat([]byte("a: b\n"), maxNarinfo) })
		s := open(t, opts)
		for range 2 {
			if _, err := s.Open(t.Context(), p); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, ErrCorrupt) {
				t.Error(err)
			}
			if !found(t, s, p) || !found(t, open(t, opts), p) {
				t.Error("its narinfo is lost")
			}
		}
	})
}

// An error names the cache once, and a path once.
func TestRemoteErrors(t *testing.T) {
	inBubble(t, func(t *testing.T, c *fakeCache, p store.Path, opts Options) {
		ask := func(s *Store, open bool) {
			t.Helper()
			_, err := s.Find(t.Context(), strings.Repeat("1", store.HashLen))
			if open {
				_, err = s.Open(t.Context(), p)
			}
			if err == nil || strings.Count(err.Error(), opts.Name) != 1 || strings.Count(err.Error(), string(p)) > 1 {
				t.Error(err)
			}
		}
		ask(open(t, opts), false) // there is none
		s := open(t, opts)
		found(t, s, p)
		c.set(func() { c.fail = fmt.Errorf("%s: no route: %w", opts.Name, store.ErrUnavailable) })
		ask(s, true)
		ask(s, true) // it is down
		s = open(t, Options{Remote: c, Name: opts.Name})
		ask(s, false)
		ask(s, false)
	})
}
