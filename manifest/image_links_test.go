package manifest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// shadow is the text of a file that nobody is to see.
const shadow = "root:$6$hush:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n"

// linking is a Source of some roots, with its log.
func linking(t *testing.T, m store.Store, storeDirs []string, roots ...string) (*manifest.Source, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	src, err := manifest.NewSource(manifest.Config{
		Stores: []store.Store{m}, StoreDirs: storeDirs, Images: roots, Cache: new(digests.Memory), Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src, log
}

// TestLinksToFilesThatAreNoImages: of what a link out of --images leads to nothing is read into a text, whatever the link is
// called. Others are served, also where it is there at the start.
func TestLinksToFilesThatAreNoImages(t *testing.T) {
	m, _, _ := withHello()
	elsewhere := t.TempDir()
	base := newFinished(t, unpacked)
	for file, text := range map[string]string{
		"shadow": shadow, "netrc": "machine hush login hush password hush\n", "yaml": "password: hush\n", "list": "- hush\n", "json": `{"auths": {"hush": {"auth": "hush"}}}`,
		"half": `{"name": "hush`, "broken": "name: hush\nhush: 1\n", "key": "-----BEGIN HUSH-----\n", "empty": "", "binary": "\x00\x01hush",
		"conf": confText(t, m, map[string]any{"repo_tag": "hush:v1"}), "script": "#!/bin/sh\nexec x /nix/store/hush-conf.json\n",
		"archive": string(base.dockerSave(t)), "gzip": "\x1f\x8bhush", "large": strings.Repeat("hush\n", 4<<20),
	} {
		write(t, filepath.Join(elsewhere, file), text)
	}
	if err := syscall.Mkfifo(filepath.Join(elsewhere, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, text := range base.layout(t) {
		write(t, filepath.Join(elsewhere, "layout", name), text)
	}
	write(t, filepath.Join(elsewhere, "folder", "hush.yaml"), "name: hush")
	entries, err := os.ReadDir(elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		for _, link := range []string{"web.yaml", "web.json", "web", "web.tar", "web.tar.gz", "web.txt"} {
			t.Run(e.Name()+" as "+link, func(t *testing.T) { leadsOut(t, m, link, filepath.Join(elsewhere, e.Name())) })
		}
	}
	for _, device := range []string{"/dev/zero", "/dev/null", "/proc/self/environ", "/"} {
		leadsOut(t, m, "web.yaml", device)
	}
}

func leadsOut(t *testing.T, m store.Store, name, target string) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "good.yaml"), "{name: good, tag: one}")
	link(t, target, filepath.Join(dir, name))
	src, log := linking(t, m, nil, dir)
	names, err := src.Repositories(ctx)
	var told []string
	for _, name := range []string{"web", "web.txt", "web/folder"} {
		d, err := src.Inspect(ctx, name, "latest")
		if err == nil {
			t.Errorf("%s is served: %+v", name, d[0])
		}
		told = append(told, publicOf(err), publicOf(second(src.Tags(ctx, name))))
	}
	told = append(told, src.Catalog().Faults(ctx)...)
	told = append(told, names...)
	if all := strings.Join(told, "\n"); err != nil || strings.Contains(strings.ToLower(all), "hush") || len(target) > 1 && strings.Contains(all, target) {
		t.Errorf("everybody is told: %s, %v", all, err)
	}
	if strings.Contains(strings.ToLower(log.String()), "hush") || !strings.Contains(log.String(), filepath.Join(dir, name)) {
		t.Errorf("the log is %s", log)
	}
	if got := title(src, "good"); got != "one" {
		t.Errorf("others: %s", got)
	}
}

func second[T any](_ T, err error) error { return err }

// publicOf is what everybody may know of an error.
func publicOf(err error) string {
	var p interface{ Public() string }
	if !errors.As(err, &p) {
		return ""
	}
	return p.Public()
}

// TestLinkThatTurnsAway: where a link to a definition leads elsewhere later, what it said before stays, and nothing of the
// other file is told.
func TestLinkThatTurnsAway(t *testing.T) {
	m, _, _ := withHello()
	elsewhere := t.TempDir()
	write(t, filepath.Join(elsewhere, "shadow"), shadow)
	write(t, filepath.Join(elsewhere, "good"), "{name: x, tag: one}")
	src, dir, log := edited(t, m, nil)
	file := filepath.Join(dir, "a.yaml")
	link(t, filepath.Join(elsewhere, "good"), file)
	src.Catalog().Reload(ctx)
	if got := title(src, "x"); got != "one" || len(src.Catalog().Faults(ctx)) > 0 {
		t.Fatalf("a definition elsewhere: %s, %q", got, src.Catalog().Faults(ctx))
	}
	link(t, filepath.Join(elsewhere, "shadow"), file+"~")
	if err := os.Rename(file+"~", file); err != nil {
		t.Fatal(err)
	}
	src.Catalog().Reload(ctx)
	want := []string{"a.yaml: the link leads out of --images, to what is not taken from there"}
	if got := src.Catalog().Faults(ctx); title(src, "x") != "one" || !slices.Equal(got, want) {
		t.Errorf("%s, %q", title(src, "x"), got)
	}
	if strings.Contains(log.String(), "hush") || !strings.Contains(log.String(), filepath.Join(elsewhere, "shadow")) {
		t.Errorf("the log is %s", log)
	}
	write(t, filepath.Join(elsewhere, "shadow"), "{name: x, tag: two}")
	src.Catalog().Reload(ctx)
	if got := title(src, "x"); got != "two" || len(src.Catalog().Faults(ctx)) > 0 {
		t.Errorf("when it is one: %s, %q", got, src.Catalog().Faults(ctx))
	}
}

// TestLinksThatAreFollowed lead below this or another root, into the store, or to a definition, by as many links as there
// are.
func TestLinksThatAreFollowed(t *testing.T) {
	m, _, _ := withHello()
	base := newFinished(t, unpacked)
	top := t.TempDir()
	one, two, etc, elsewhere := filepath.Join(top, "one"), filepath.Join(top, "two"), filepath.Join(top, "etc"), filepath.Join(top, "elsewhere")
	stored := m.Add("web.yaml", storetest.Files{"": storetest.File("{name: stored, tag: v1}")})
	tree := m.Add("etc", storetest.Files{"etc/nixreg/tree.yaml": storetest.File("{name: tree, tag: v1}")})
	archived := m.Add("docker-image-app.tar", storetest.Files{"": storetest.File(string(base.dockerSave(t)))})

	write(t, filepath.Join(one, "plain.yaml"), "{name: plain, tag: v1}")
	write(t, filepath.Join(one, ".real", "hidden.yaml"), "{name: hidden, tag: v1}")
	link(t, ".real/hidden.yaml", filepath.Join(one, "again.yaml"))
	write(t, filepath.Join(two, "other.tar"), string(base.dockerSave(t)))
	write(t, filepath.Join(two, "conf"), confText(t, m, nil))
	for name, text := range base.layout(t) {
		write(t, filepath.Join(two, "team", "layout", name), text)
	}
	link(t, two+"/other.tar", filepath.Join(one, "linked.tar"))
	link(t, "../two/conf", filepath.Join(one, "conf-link"))
	link(t, two+"/team", filepath.Join(one, "folder"))
	link(t, two+"/team/layout", filepath.Join(one, "layout"))

	// as NixOS has it: by way of /etc/static, into the store
	link(t, stored.Abs(), filepath.Join(etc, "static-etc", "web.yaml"))
	link(t, filepath.Join(etc, "static-etc"), filepath.Join(etc, "static"))
	link(t, filepath.Join(etc, "static", "web.yaml"), filepath.Join(one, "nixos.yaml"))
	link(t, tree.Abs()+"/etc/nixreg/tree.yaml", filepath.Join(one, "below.yaml"))
	link(t, archived.Abs(), filepath.Join(one, "archived"))

	write(t, filepath.Join(elsewhere, "ours"), "{name: ours, tag: v1}")
	link(t, "ours", filepath.Join(elsewhere, "twice"))
	link(t, filepath.Join(elsewhere, "twice"), filepath.Join(one, "ours.yaml"))

	// a store whose files lie elsewhere, and are called as in every store
	write(t, filepath.Join(top, "root/nix/store", string(stored)), "{name: stored, tag: v1}")
	link(t, filepath.Join(top, "root/nix/store", string(stored)), filepath.Join(one, "rooted.yaml"))
	link(t, filepath.Join(top, "root/nix/store", string(archived)), filepath.Join(one, "rooted"))
	write(t, filepath.Join(top, "root/nix/store", string(archived)), "not what the store has")

	link(t, one, filepath.Join(top, "images")) // the root is a link itself
	src, log := linking(t, m, []string{filepath.Join(top, "root/nix/store")}, filepath.Join(top, "images"), two)
	names, err := src.Repositories(ctx)
	want := []string{
		"archived", "conf", "conf-link", "folder/layout", "hello", "hidden", "layout", "linked", "other", "ours", "plain", "rooted", "stored", "team/layout", "tree",
	}
	if err != nil || !slices.Equal(names, want) {
		t.Errorf("repositories are %q, %v, not %q; log %s", names, err, want, log)
	}
	for _, name := range want {
		if _, err := src.Inspect(ctx, name, "latest"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if faults := src.Catalog().Faults(ctx); len(faults) > 0 {
		t.Errorf("faults %q", faults)
	}
}

// TestFolderElsewhere is not listed, nor is anything in it, until it is given to --images, too.
func TestFolderElsewhere(t *testing.T) {
	m, _, _ := withHello()
	dir, elsewhere := t.TempDir(), t.TempDir()
	write(t, filepath.Join(elsewhere, "a.yaml"), "{name: ours}")
	write(t, filepath.Join(elsewhere, "b.json"), confText(t, m, nil))
	link(t, elsewhere, filepath.Join(dir, "team"))
	src, log := linking(t, m, nil, dir)
	if names, err := src.Repositories(ctx); err != nil || !slices.Equal(names, []string{"hello"}) {
		t.Errorf("repositories are %q, %v", names, err)
	}
	if n := strings.Count(log.String(), "file="+filepath.Join(dir, "team")+" reason=\"the link leads out of --images"); n != 1 {
		t.Errorf("it is told %d times: %s", n, log)
	}
	src, _ = linking(t, m, nil, dir, elsewhere)
	if names, err := src.Repositories(ctx); err != nil || !slices.Equal(names, []string{"b", "hello", "ours", "team/b"}) {
		t.Errorf("given, too: repositories are %q, %v", names, err)
	}
}

// TestCheckOfLinks: a link out of a folder is judged as serve judges it; who names the file itself is told all.
func TestCheckOfLinks(t *testing.T) {
	m, _, _ := withHello()
	dir, elsewhere := t.TempDir(), t.TempDir()
	target, file := filepath.Join(elsewhere, "web"), filepath.Join(dir, "web.yaml")
	write(t, target, "name: web\nhush: 1\n")
	link(t, target, file)
	err := check(m, dir)
	if !errors.Is(err, fs.ErrInvalid) || strings.Contains(fmt.Sprint(err), "hush") || !strings.Contains(err.Error(), file+": ") || !strings.Contains(err.Error(), target) {
		t.Errorf("in a folder: %v", err)
	}
	for _, files := range [][]string{{dir, elsewhere}, {file}} {
		if err := check(m, files...); err == nil || !strings.Contains(err.Error(), file+":2:1: unknown key \"hush\"") {
			t.Errorf("%q: %v", files, err)
		}
	}
}
