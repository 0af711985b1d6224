package channel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixreg/nixreg/store"
)

var discard = slog.New(slog.DiscardHandler)

// scripted is a Fetcher of two files that does as it is told.
type scripted struct {
	files map[string][]byte

	mu    sync.Mutex
	err   error           // of each call, if any
	block chan struct{}   // a call waits until it is closed
	calls []time.Duration // since start, for the list of paths
	start time.Time
}

func (s *scripted) GetIf(ctx context.Context, name, etag string, limit int64) (Answer, error) {
	s.mu.Lock()
	if name == pathsFile {
		s.calls = append(s.calls, time.Since(s.start))
	}
	block := s.block
	s.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return Answer{}, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return Answer{}, s.err
	}
	data, ok := s.files[name]
	if !ok {
		return Answer{}, fs.ErrNotExist
	}
	if etag != "" {
		return Answer{NotModified: true, ETag: etag}, nil
	}
	return Answer{Body: io.NopCloser(bytes.NewReader(data)), ETag: `"1"`}, nil
}

func (s *scripted) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// took returns when the list was asked for since the last call.
func (s *scripted) took() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.calls
	s.calls = nil
	return out
}

func newScripted(t *testing.T) *scripted {
	return &scripted{
		start: time.Now(),
		files: map[string][]byte{pathsFile: xzOf(t, pathWith("a", "hello-1")), packagesFile: brotliOf(t, record("hello", "hello-1"))},
	}
}

func open(t *testing.T, o Options) *Channel {
	t.Helper()
	if o.Name == "" {
		o.Name, o.Location = "nixos-unstable", "https://channels.nixos.org/nixos-unstable"
	}
	c, err := Open(t.Context(), o)
	must(t, err)
	return c
}

// listing is what Packages yields, one a line.
func listing(ctx context.Context, c store.Channel) (string, error) {
	var b strings.Builder
	for p, err := range c.Packages(ctx) {
		if err != nil {
			return b.String(), err
		}
		b.WriteString(p.Path.Name() + " " + strings.Join(p.Names, ",") + "\n")
	}
	return b.String(), nil
}

// state is State, which never fails.
func state(t *testing.T, c store.Channel) string {
	t.Helper()
	s, err := c.State(t.Context())
	must(t, err)
	return s
}

func TestChannel(t *testing.T) {
	dir := channelFolder(t, pathWith("b", "zlib-1")+"\n"+pathWith("a", "hello-1"), record("hello", "hello-1"))
	keep := t.TempDir()
	c := open(t, Options{Name: "mine", Location: dir, Dir: keep})
	got, err := listing(t.Context(), c)
	if got != "zlib-1 \nhello-1 hello\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if c.Name() != "mine" {
		t.Error(c.Name())
	}
	before := state(t, c)
	c.Close()
	if got, err := listing(t.Context(), c); got == "" || err != nil {
		t.Errorf("closed: %q, %v", got, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := listing(ended, c); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}

	must(t, os.RemoveAll(dir)) // an outage
	c = open(t, Options{Name: "mine", Location: dir, Dir: keep})
	defer c.Close()
	if got, err := listing(t.Context(), c); got != "zlib-1 \nhello-1 hello\n" || err != nil {
		t.Errorf("after a restart: %q, %v", got, err)
	}
	if after := state(t, c); after != before {
		t.Errorf("state was %s and is %s", before, after)
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, o := range map[string]Options{
		"name":     {Name: "../x", Location: "/x"},
		"latest":   {Name: "latest", Location: "/x"},
		"fetcher":  {Name: "x", Location: "https://host/x"},
		"interval": {Name: "x", Location: "/x", Every: -1},
	} {
		if _, err := Open(t.Context(), o); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	file := filepath.Join(t.TempDir(), "x")
	must(t, os.WriteFile(file, nil, 0o666))
	if _, err := Open(t.Context(), Options{Name: "x", Location: "/x", Dir: file}); err == nil {
		t.Error("a file for a folder")
	}
}

// What is kept of one channel is not used for another, nor if it is damaged.
func TestKept(t *testing.T) {
	keep := t.TempDir()
	fetch := newScripted(t)
	fill := func(o Options) string {
		t.Helper()
		o.Dir, o.Fetch = keep, fetch
		c := open(t, o)
		defer c.Close()
		if _, err := listing(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return c.file
	}
	lower := fill(Options{Name: "x", Location: "https://host/x?token=secret"})
	upper := fill(Options{Name: "X", Location: "https://host/x"})
	if strings.EqualFold(lower, upper) {
		t.Errorf("%s and %s are one where case is ignored", lower, upper)
	}
	if b, err := os.ReadFile(lower); err != nil || bytes.Contains(b, []byte("secret")) {
		t.Errorf("a password is kept, or %v", err)
	}

	fetch.set(func() { fetch.err = errors.New("out of reach") })
	for _, tt := range []struct { // in this order: the last one damages the file
		name     string
		location string
		data     []byte
		works    bool
	}{
		{name: "the same", location: "https://host/x?token=other", works: true},
		{name: "another location", location: "https://host/y"},
		{name: "damaged", location: "https://host/x", data: []byte("damaged, and longer than a check sum is")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.data != nil {
				must(t, os.WriteFile(lower, tt.data, 0o666))
			}
			c := open(t, Options{Name: "x", Location: tt.location, Dir: keep, Fetch: fetch})
			defer c.Close()
			if _, err := listing(t.Context(), c); (err == nil) != tt.works || err != nil && !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestFirstRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fetch := newScripted(t)
		fetch.block = make(chan struct{})
		c := open(t, Options{Fetch: fetch})
		defer c.Close()
		if state(t, c) != unread {
			t.Error("read already")
		}
		if _, err := listing(t.Context(), c); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "the channel nixos-unstable was not read yet: it is being read") {
			t.Errorf("%v", err)
		}
		if waited := time.Since(fetch.start); waited != maxWait {
			t.Errorf("waited for %v", waited)
		}
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := listing(impatient, c); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a context that ends: %v", err)
		}

		done := make(chan string)
		go func() {
			got, _ := listing(t.Context(), c)
			done <- got
		}()
		synctest.Wait()
		close(fetch.block)
		if got := <-done; got != "hello-1 hello\n" {
			t.Errorf("%q", got)
		}
		if s := state(t, c); s == unread {
			t.Error("not read yet")
		}
	})
}

// Without an index and without the network there is an answer at once, that says why.
func TestUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fetch := newScripted(t)
		fetch.err = fs.ErrNotExist
		c := open(t, Options{Fetch: fetch})
		defer c.Close()
		for range 2 {
			_, err := listing(t.Context(), c)
			if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "nixos-unstable was not read yet: file does not exist") {
				t.Errorf("%v", err)
			}
			wantPublic(t, err, "the channel nixos-unstable was not read yet")
		}
		if time.Since(fetch.start) != 0 {
			t.Error("it was waited for")
		}
	})
}

// within reports whether got are the times, in minutes after the first, with a tenth of each pause to spare.
func within(got []time.Duration, minutes ...time.Duration) bool {
	if len(got) != len(minutes) {
		return false
	}
	for i := range got {
		want := minutes[i] * time.Minute
		if d := got[i] - got[0] - want; d < -want/10 || d > want/10 {
			return false
		}
	}
	return true
}

func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logged
		fetch := newScripted(t)
		c := open(t, Options{Fetch: fetch, Every: 10 * time.Minute, Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer c.Close()
		forward := func(d time.Duration) {
			time.Sleep(d) // of the bubble's clock
			synctest.Wait()
		}
		synctest.Wait()
		fetch.took() // the first, and whether it has settled
		forward(35 * time.Minute)
		if got := fetch.took(); !within(got, 0, 10, 20) {
			t.Errorf("while all is well: %v", got)
		}
		fetch.set(func() { fetch.err = errors.New("down") })
		forward(40 * time.Minute)
		// one fails, and is tried again after 1, 2, 4, 8, 10 and 10 minutes
		if got := fetch.took(); !within(got, 0, 1, 3, 7, 15, 25) && !within(got, 0, 1, 3, 7, 15, 25, 35) {
			t.Errorf("while it fails: %v", got)
		}
		if got, err := listing(t.Context(), c); got != "hello-1 hello\n" || err != nil {
			t.Errorf("while it fails: %q, %v", got, err)
		}
		fetch.set(func() { fetch.err = nil })
		forward(45 * time.Minute)
		if got := fetch.took(); len(got) < 4 || !within(got[:4], 0, 10, 20, 30) {
			t.Errorf("when it works again: %v", got)
		}
		fetch.set(func() { fetch.err = errors.New("down") })
		forward(11 * time.Minute)
		for text, n := range map[string]int{"channel: read": 1, "cannot be read": 2, "can be read again": 1, "those of the last time": 2} {
			if got := log.count(text); got != n {
				t.Errorf("the log has %q %d times, want %d", text, got, n)
			}
		}
	})
}

// logged is a log. Safe for concurrent use.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// Close ends what is under way, and those who wait for it are told.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logged
		fetch := newScripted(t)
		fetch.block = make(chan struct{})
		c := open(t, Options{Fetch: fetch, Log: slog.New(slog.NewTextHandler(&log, nil))})
		done := make(chan error)
		go func() {
			_, err := listing(t.Context(), c)
			done <- err
		}()
		synctest.Wait()
		c.Close()
		c.Close()
		if err := <-done; !errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		if n := log.count("channel"); n > 0 {
			t.Errorf("the log has %d lines", n)
		}
	})
}

// A refresh that does not end is ended.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fetch := newScripted(t)
		fetch.block = make(chan struct{})
		c := open(t, Options{Fetch: fetch})
		defer c.Close()
		time.Sleep(readTimeout + 3*firstRetry)
		synctest.Wait()
		if got := fetch.took(); len(got) != 2 || got[1] < readTimeout+firstRetry*9/10 {
			t.Errorf("asked at %v", got)
		}
	})
}

// An index that cannot be kept is used all the same.
func TestNotKept(t *testing.T) {
	var log logged
	keep := t.TempDir()
	c := &Channel{name: "x", location: "x", fetch: newScripted(t), file: filepath.Join(keep, "gone", "index"), reading: make(chan struct{}), log: slog.New(slog.NewTextHandler(&log, nil))}
	if !c.attempt(t.Context()) || c.last == nil || log.count("not kept") != 1 {
		t.Errorf("%v, %v, %s", c.last, c.failed, log.b.String())
	}
}
