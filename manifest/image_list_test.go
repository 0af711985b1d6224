package manifest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// listed are the repositories of image files in dir, with the log.
func listed(t *testing.T, dir string) (names []string, log *bytes.Buffer) {
	t.Helper()
	src, log := openLogged(t, storetest.New(), dir)
	names, err := src.Repositories(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return names, log
}

// TestLeftovers of editors and of patch are no images, whatever they hold.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"#web.yaml#", ".web.yaml.swp", ".#web.yaml", "web.yaml~", "web.yaml.orig", "web.yaml.rej", "web.swp", "web.bak", "web.yaml.tmp", "web.txt", "web.yaml.save"} {
		write(t, filepath.Join(dir, name), "name: old")
	}
	write(t, filepath.Join(dir, "web.yaml"), "name: web")
	write(t, filepath.Join(dir, "plain"), "name: plain")
	write(t, filepath.Join(dir, "x.json"), `{"name": "json"}`)
	if names, _ := listed(t, dir); !slices.Equal(names, []string{"json", "plain", "web"}) {
		t.Errorf("repositories are %v", names)
	}
}

// TestOddFiles are no repositories, and each is told of once.
func TestOddFiles(t *testing.T) {
	dir := t.TempDir()
	odd := []string{"README.md", "empty", "fifo", "dangling", "large"}
	write(t, filepath.Join(dir, "README.md"), "# Our images\n")
	write(t, filepath.Join(dir, "empty"), "")
	link(t, "nowhere", filepath.Join(dir, "dangling"))
	if err := errors.Join(syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644), os.WriteFile(filepath.Join(dir, "large"), nil, 0o644), os.Truncate(filepath.Join(dir, "large"), 17<<20)); err != nil {
		t.Fatal(err)
	}
	link(t, storetest.NewFixture("image", nil).Path.Abs(), filepath.Join(dir, "stored"))
	write(t, filepath.Join(dir, "half.json"), `{"store_layers": [`)
	src, log := openLogged(t, storetest.New(), dir)
	for range 2 {
		if names, err := src.Repositories(ctx); err != nil || !slices.Equal(names, []string{"half", "stored"}) {
			t.Errorf("repositories are %v, %v", names, err)
		}
		src.Catalog().Reload(ctx)
	}
	for _, name := range odd {
		if n := strings.Count(log.String(), "file="+filepath.Join(dir, name)+" "); n != 1 {
			t.Errorf("%s is told of %d times: %s", name, n, log)
		}
	}
	write(t, filepath.Join(dir, "empty"), "name: filled")
	src.Catalog().Reload(ctx)
	if _, err := src.Tags(ctx, "filled"); err != nil {
		t.Error(err)
	}
}

// TestLinkedFolders are followed, but never in circles, and an end is made where they are too many.
func TestLinkedFolders(t *testing.T) {
	dir := t.TempDir()
	elsewhere := filepath.Join(dir, ".elsewhere")
	write(t, filepath.Join(elsewhere, "a.json"), `{"name": "ours"}`)
	write(t, filepath.Join(elsewhere, "half.json"), `{`)
	link(t, elsewhere, filepath.Join(dir, "team"))
	link(t, dir, filepath.Join(elsewhere, "circle"))
	link(t, ".", filepath.Join(dir, "itself"))
	if names, _ := listed(t, dir); !slices.Equal(names, []string{"ours", "team/half"}) {
		t.Errorf("repositories are %v", names)
	}
	many := t.TempDir()
	for i := range 20 { // 2^20 ways to the last
		for _, name := range []string{"a", "b"} {
			link(t, fmt.Sprintf("../%d", i+1), filepath.Join(many, fmt.Sprint(i), name))
		}
	}
	write(t, filepath.Join(many, "20", "x.json"), `{`)
	listed(t, many)
}

// TestGap: between the moves of an editor a file is not there, and nothing is served of it; what it said before stays all
// the same when it comes back broken, for a minute.
func TestGap(t *testing.T) {
	for after, want := range map[time.Duration]string{time.Second: "one", 59 * time.Second: "one", 61 * time.Second: "no image or package called x"} {
		synctest.Test(t, func(t *testing.T) {
			m, _, _ := withHello()
			src, dir, _ := edited(t, m, map[string]string{"a.yaml": "{name: x, tag: one}"})
			file := filepath.Join(dir, "a.yaml")
			if err := os.Rename(file, file+"~"); err != nil {
				t.Fatal(err)
			}
			src.Catalog().Reload(ctx)
			if got := title(src, "x"); got == "one" || len(src.Catalog().Faults(ctx)) > 0 {
				t.Errorf("while it is gone: %s, %q", got, src.Catalog().Faults(ctx))
			}
			time.Sleep(after)
			src.Catalog().Reload(ctx)
			write(t, file, "{name: x, tag")
			src.Catalog().Reload(ctx)
			if got := title(src, "x"); got != want || len(src.Catalog().Faults(ctx)) != 1 {
				t.Errorf("after %v: %s, %q", after, got, src.Catalog().Faults(ctx))
			}
			if err := os.Rename(file+"~", file); err != nil {
				t.Fatal(err)
			}
			src.Catalog().Reload(ctx)
			if got := title(src, "x"); got != "one" || len(src.Catalog().Faults(ctx)) > 0 {
				t.Errorf("as it was: %s, %q", got, src.Catalog().Faults(ctx))
			}
		})
	}
}

// TestFaultsDoNotWait for a store that does not answer.
func TestFaultsDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, lib, _ := withHello()
		dir := t.TempDir()
		write(t, filepath.Join(dir, "a.yaml"), "name: x")
		stuck := false
		src, _ := openLogged(t, &faulty{Store: m, open: func(ctx context.Context, _ store.Path) error {
			if stuck {
				<-ctx.Done()
			}
			return ctx.Err()
		}}, dir)
		write(t, filepath.Join(dir, "a.yaml"), "name: 7")
		src.Catalog().Reload(ctx)
		stuck = true
		link(t, lib.Abs(), filepath.Join(dir, "b.yaml"))
		time.Sleep(time.Second)
		started := time.Now()
		if faults := src.Catalog().Faults(ctx); len(faults) != 1 || time.Since(started) > time.Second {
			t.Errorf("%q after %v", faults, time.Since(started))
		}
	})
}

// TestNewestTags: after the cache was lost, the highest versions are made anew first.
func TestNewestTags(t *testing.T) {
	m, _, _ := withHello()
	dir := t.TempDir()
	var text strings.Builder
	for i := range 12 {
		fmt.Fprintf(&text, "- {name: x, tag: v1.%d, contents: hello, uid: %d}\n", i, i)
	}
	write(t, filepath.Join(dir, "a.yaml"), text.String()+"- {name: x, tag: latest}\n")
	start := func() *manifest.Source { return newSource(t, dir, m) }
	for _, tag := range []string{"latest", "v1.11", "v1.5"} {
		if err := known(start(), "x", get(t, start(), "x", tag).Digest); err != nil {
			t.Errorf("%s: %v", tag, err)
		}
	}
	if err := known(start(), "x", get(t, start(), "x", "v1.0").Digest); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("v1.0: %v", err)
	}
}

// TestLooksAtTheSameTime do not forget each other's files.
func TestLooksAtTheSameTime(t *testing.T) {
	m, _, _ := withHello()
	src, dir, _ := edited(t, m, map[string]string{"a.yaml": "{name: x, tag: one}"})
	file := filepath.Join(dir, "a.yaml")
	var looking sync.WaitGroup
	for range 4 {
		looking.Go(func() {
			for range 20 {
				src.Catalog().Reload(ctx)
				src.Catalog().Faults(ctx)
				title(src, "x")
			}
		})
	}
	for range 20 {
		err := os.Rename(file, file+"~")
		write(t, file, "{name: x, tag: ")
		if err = errors.Join(err, os.Rename(file+"~", file)); err != nil {
			t.Fatal(err)
		}
	}
	looking.Wait()
	write(t, file, "{")
	src.Catalog().Reload(ctx)
	if got := title(src, "x"); got != "one" {
		t.Error(got)
	}
}
