package conformance_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The tree of the nixpkgs manual: links in bin and share into the store, and the closure below /nix/store, file by
// file what Nix has on disk. Each way in which a client keeps layers is asked once.
func TestTreeInsideIsTheStores(t *testing.T) {
	endToEnd(t)
	hello := helloPath(t)
	s := start(t, local)
	image := s.Host + "/hello:" + hash(hello)
	t.Run("docker", func(t *testing.T) {
		pull(t, image)
		checkTree(t, hello, func(yield func(*tar.Header, io.Reader)) { export(t, image, yield) })
	})
	t.Run("podman", func(t *testing.T) {
		c := newContainers(t)
		checkTree(t, hello, func(yield func(*tar.Header, io.Reader)) { c.export(t, image, yield) })
	})
	t.Run("containerd", func(t *testing.T) {
		c := startContainerd(t)
		checkTree(t, hello, func(yield func(*tar.Header, io.Reader)) { c.export(t, image, yield) })
	})
}

// checkTree compares what a client exports of hello's image with the disk.
func checkTree(t *testing.T, hello string, export func(yield func(*tar.Header, io.Reader))) {
	t.Helper()
	links := map[string]string{
		"bin/hello":             hello + "/bin/hello",
		"share/info/hello.info": hello + "/share/info/hello.info",
	}
	man := 0
	want := onDisk(t, closure(t, hello))
	export(func(h *tar.Header, r io.Reader) {
		name := strings.Trim(strings.TrimPrefix(h.Name, "."), "/")
		switch {
		case name == "nix" || name == "nix/store":
			checkMode(t, h, 0o755)
		case strings.HasPrefix(name, "nix/store/"):
			checkEntry(t, want, "/"+name, h, r)
		case links[name] != "":
			if h.Linkname != links[name] {
				t.Errorf("%s links to %q, want %q", name, h.Linkname, links[name])
			}
			delete(links, name)
		case strings.HasPrefix(name, "share/man/") && h.Typeflag == tar.TypeSymlink:
			if h.Linkname != hello+"/"+name {
				t.Errorf("%s links to %q", name, h.Linkname)
			}
			man++
		}
	})
	for name := range want {
		t.Errorf("%s is not in the image", name)
	}
	if len(links) > 0 || man == 0 {
		t.Errorf("no links for %v; %d manual pages", links, man)
	}
}

// onDisk is everything below the given paths.
func onDisk(t *testing.T, paths []string) map[string]fs.FileInfo {
	t.Helper()
	all := make(map[string]fs.FileInfo)
	for _, p := range paths {
		err := filepath.Walk(p, func(name string, fi fs.FileInfo, err error) error {
			all[name] = fi
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// checkEntry compares one entry below /nix/store with the file on disk, and strikes it off.
func checkEntry(t *testing.T, want map[string]fs.FileInfo, name string, h *tar.Header, r io.Reader) {
	t.Helper()
	fi, ok := want[name]
	if !ok {
		t.Errorf("%s is in the image, not in the closure on disk", name)
		return
	}
	delete(want, name)
	switch {
	case fi.IsDir():
		checkMode(t, h, 0o555)
	case fi.Mode()&fs.ModeSymlink != 0:
		if target, err := os.Readlink(name); err != nil || target != h.Linkname {
			t.Errorf("%s links to %q, want %q, %v", name, h.Linkname, target, err)
		}
	case h.Typeflag == tar.TypeLink: // of two equal files; Docker may say so
		t.Errorf("%s is a hard link to %s", name, h.Linkname)
	default:
		checkMode(t, h, fi.Mode().Perm())
		got, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if content, err := os.ReadFile(name); err != nil || !bytes.Equal(content, got) {
			t.Errorf("%s differs from the file on disk (%v)", name, err)
		}
	}
}

func checkMode(t *testing.T, h *tar.Header, want fs.FileMode) {
	t.Helper()
	if got := h.FileInfo().Mode().Perm(); got != want {
		t.Errorf("%s has mode %o, want %o", h.Name, got, want)
	}
}

// tarEntry reads a tar archive to its end: it must be whole, and have an entry of that name.
func tarEntry(archive io.Reader, name string) error {
	found := false
	for r := tar.NewReader(archive); ; {
		h, err := r.Next()
		switch {
		case errors.Is(err, io.EOF) && found:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("no %s in the archive", name)
		case err != nil:
			return err
		}
		found = found || strings.Trim(h.Name, "/") == name
	}
}
