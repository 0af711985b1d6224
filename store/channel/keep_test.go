package channel

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// unmarked is a Fetcher whose files have no ETag: each time they are read anew.
type unmarked struct{ Fetcher }

func (f unmarked) GetIf(ctx context.Context, name, _ string, limit int64) (Answer, error) {
	a, err := f.Fetcher.GetIf(ctx, name, "", limit)
	a.ETag = ""
	return a, err
}

// An index is saved when it is another, or was lost at the last try, and not each time it is read.
func TestSavedOnce(t *testing.T) {
	dir := channelFolder(t, pathWith("a", "hello-1"), record("hello", "hello-1"))
	own := t.TempDir()
	c := &Channel{name: "x", fetch: unmarked{folder(dir)}, log: discard, file: filepath.Join(own, indexFile), reading: make(chan struct{})}
	step := func(what string, saved bool) {
		t.Helper()
		before, _ := os.Stat(c.file)
		if !c.attempt(t.Context()) {
			t.Fatal(c.failed)
		}
		after, err := os.Stat(c.file)
		if err != nil && saved || (err == nil && !os.SameFile(before, after)) != saved {
			t.Errorf("%s: saved %t, want %t", what, !saved, saved)
		}
	}
	step("first", true)
	step("the same", false)
	replaceFile(t, filepath.Join(dir, packagesFile), brotliOf(t, record("bye", "hello-1")))
	step("another", true)
	must(t, os.Mkdir(c.file+unfinished, 0o777)) // no file can be made
	replaceFile(t, filepath.Join(dir, packagesFile), brotliOf(t, record("back", "hello-1")))
	step("cannot be saved", false)
	must(t, os.Remove(c.file+unfinished))
	step("the same, not saved yet", true)
	kept, err := load(c.file)
	if err != nil || kept.state != c.last.state {
		t.Errorf("kept %v, %v", kept, err)
	}
}

// failing is a Fetcher of a server that is down.
type failing struct{}

func (failing) GetIf(context.Context, string, string, int64) (Answer, error) {
	return Answer{}, errors.New("no route")
}

// wantPublic compares what everybody may know of an error: nothing of what was read.
func wantPublic(t *testing.T, err error, want string) {
	t.Helper()
	var p interface{ Public() string }
	if !errors.As(err, &p) || p.Public() != want {
		t.Errorf("%v is for everybody %v, want %q", err, p, want)
	}
}

// A channel that cannot be read for weeks is told of each day, and then it is outdated.
func TestOutdated(t *testing.T) {
	dir := channelFolder(t, pathWith("a", "hello-1"), record("hello", "hello-1"))
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c := &Channel{name: "x", log: slog.New(slog.NewTextHandler(&log, nil)), reading: make(chan struct{})}
		attempt := func(f Fetcher, good bool) {
			t.Helper()
			c.fetch = f
			if c.attempt(t.Context()) != good {
				t.Fatal(c.failed)
			}
		}
		attempt(failing{}, false)
		if time.Sleep(2 * remind); c.Outdated() != nil {
			t.Error("outdated before it was read")
		}
		attempt(folder(dir), true)
		log.Reset()
		since := time.Now()
		for i := range 10 * 24 {
			attempt(failing{}, false)
			if err := c.Outdated(); (err != nil) != (i >= 24) || err != nil && !strings.Contains(err.Error(), since.UTC().Format(time.RFC3339)) {
				t.Errorf("after %d hours: %v", i, err)
			}
			if i == 30 {
				wantPublic(t, c.Outdated(), "the channel x cannot be read since "+since.UTC().Format(time.RFC3339)+", what it had before is served")
			}
			time.Sleep(time.Hour)
		}
		if n := strings.Count(log.String(), "cannot be read"); n != 10 || strings.Count(log.String(), "since="+since.UTC().Format(time.RFC3339)) != 10 {
			t.Errorf("%d lines in ten days:\n%s", n, log.String())
		}
		attempt(folder(dir), true)
		if c.Outdated() != nil || strings.Count(log.String(), "can be read again") != 1 {
			t.Errorf("after a success: %v\n%s", c.Outdated(), log.String())
		}
	})
}

// What channels kept that are opened no more goes after a month; nothing else that lies there does.
func TestSweep(t *testing.T) {
	all, now := t.TempDir(), time.Now()
	for name, age := range map[string]time.Duration{
		"own-01234567/index": 0, "used-01234567/index": unusedFor - time.Minute, "gone-01234567/index": unusedFor, "gone-01234567/index.new": 0,
		"more-01234567/index": unusedFor, "more-01234567/notes": unusedFor, "theirs/index": unusedFor, "x-0123456/index": unusedFor, "empty-01234567/other": unusedFor,
		"01234567": unusedFor,
	} {
		file := filepath.Join(all, name)
		must(t, os.MkdirAll(filepath.Dir(file), 0o777))
		must(t, os.WriteFile(file, nil, 0o666))
		must(t, os.Chtimes(file, now.Add(-age), now.Add(-age)))
	}
	var log bytes.Buffer
	c := &Channel{name: "own", log: slog.New(slog.NewTextHandler(&log, nil)), file: filepath.Join(all, "own-01234567", indexFile)}
	c.sweep(now)
	var left []string
	must(t, filepath.WalkDir(all, func(name string, _ os.DirEntry, err error) error {
		left = append(left, strings.TrimPrefix(name, all))
		return err
	}))
	want := []string{"", "/01234567", "/empty-01234567", "/empty-01234567/other", "/more-01234567", "/more-01234567/notes",
		"/own-01234567", "/own-01234567/index", "/theirs", "/theirs/index", "/used-01234567", "/used-01234567/index", "/x-0123456", "/x-0123456/index"}
	if !slices.Equal(left, want) || log.Len() > 0 {
		t.Errorf("left %q, want %q\n%s", left, want, log.String())
	}
	(&Channel{}).sweep(now) // keeps none
}

// A channel in use counts as such, whether it can be read or not; the first to be read sweeps nothing away yet.
func TestInUse(t *testing.T) {
	all, dir := t.TempDir(), channelFolder(t, pathWith("a", "hello-1"), record("hello", "hello-1"))
	unread, other := filepath.Join(all, "unread-2cc1c371", indexFile), filepath.Join(all, "other-01234567", indexFile)
	synctest.Test(t, func(t *testing.T) {
		old := time.Now().Add(-2 * unusedFor)
		for _, file := range []string{unread, other} {
			must(t, os.MkdirAll(filepath.Dir(file), 0o777))
			must(t, os.WriteFile(file, nil, 0o666))
			must(t, os.Chtimes(file, old, old))
		}
		for _, o := range []Options{{Name: "read", Location: dir}, {Name: "unread", Location: "https://x.test/unread", Fetch: failing{}}} {
			o.Dir, o.Log = all, discard
			c, err := Open(t.Context(), o)
			must(t, err)
			defer c.Close()
			if o.Name == "unread" && c.file != unread {
				t.Errorf("kept in %s, want %s", c.file, unread)
			}
		}
		synctest.Wait()
		if _, err := os.Stat(other); err != nil {
			t.Errorf("swept at once: %v", err)
		}
		if fi, err := os.Stat(unread); err != nil || !fi.ModTime().Equal(time.Now()) {
			t.Errorf("its time is %v, %v", fi.ModTime(), err)
		}
		time.Sleep(2 * defaultEvery)
		synctest.Wait()
		if _, err := os.Stat(other); !os.IsNotExist(err) {
			t.Errorf("not swept: %v", err)
		}
		if _, err := os.Stat(unread); err != nil {
			t.Error(err)
		}
	})
}

// stalled is a Fetcher of a server that never answers.
type stalled struct{}

func (stalled) GetIf(ctx context.Context, _, _ string, _ int64) (Answer, error) {
	<-ctx.Done()
	return Answer{}, ctx.Err()
}

// An index is in use from the moment its channel is opened, not from its first answer: another channel may sweep before that.
func TestInUseUnanswered(t *testing.T) {
	all, dir := t.TempDir(), channelFolder(t, pathWith("a", "hello-1"), record("hello", "hello-1"))
	synctest.Test(t, func(t *testing.T) {
		o := Options{Name: "b", Location: "https://x.test/b", Fetch: folder(dir), Dir: all, Log: discard}
		c, err := Open(t.Context(), o)
		must(t, err)
		synctest.Wait()
		c.Close()
		old := time.Now().Add(-2 * unusedFor)
		must(t, os.Chtimes(c.file, old, old))
		o.Fetch = stalled{}
		c, err = Open(t.Context(), o)
		must(t, err)
		defer c.Close()
		other := &Channel{name: "a", log: discard, file: filepath.Join(all, "a-01234567", indexFile)}
		other.sweep(time.Now())
		if _, err := os.Stat(c.file); err != nil {
			t.Error(err)
		}
	})
}
