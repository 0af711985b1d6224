package catalog

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// TestPlaceThatIsReplaced: what takes the place of a file, or of a folder above it, between the look and the opening, is
// read only if it may be.
func TestPlaceThatIsReplaced(t *testing.T) {
	const good, secret = "name: good", "root:$6$hush:19000:0:99999:7:::"
	for name, c := range map[string]struct {
		file    string // the image file
		replace func(images, elsewhere string) error
	}{
		"file by a link": {"a.yaml", func(images, elsewhere string) error {
			return errors.Join(os.Remove(images+"/a.yaml"), os.Symlink(elsewhere+"/shadow", images+"/a.yaml"))
		}},
		"folder by a link": {"team/a.yaml", func(images, elsewhere string) error {
			return errors.Join(os.RemoveAll(images+"/team"), os.Symlink(elsewhere, images+"/team"))
		}},
		"file by a pipe": {"a.yaml", func(images, _ string) error {
			return errors.Join(os.Remove(images+"/a.yaml"), syscall.Mkfifo(images+"/a.yaml", 0o644))
		}},
		"file by a folder": {"a.yaml", func(images, _ string) error {
			return errors.Join(os.Remove(images+"/a.yaml"), os.Mkdir(images+"/a.yaml", 0o755))
		}},
		"target of a link by what is no definition": {"out.yaml", func(_, elsewhere string) error {
			return os.Rename(elsewhere+"/shadow", elsewhere+"/good.yaml")
		}},
		"target of a link by a link": {"out.yaml", func(_, elsewhere string) error {
			return errors.Join(os.Remove(elsewhere+"/good.yaml"), os.Symlink("shadow", elsewhere+"/good.yaml"))
		}},
		"target of a link by a pipe": {"out.yaml", func(_, elsewhere string) error {
			return errors.Join(os.Remove(elsewhere+"/good.yaml"), syscall.Mkfifo(elsewhere+"/good.yaml", 0o644))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			images, elsewhere := t.TempDir(), t.TempDir()
			put(t, images+"/a.yaml", good)
			put(t, images+"/team/a.yaml", good)
			put(t, elsewhere+"/a.yaml", secret)
			put(t, elsewhere+"/shadow", secret)
			put(t, elsewhere+"/good.yaml", good)
			if err := os.Symlink(elsewhere+"/good.yaml", images+"/out.yaml"); err != nil {
				t.Fatal(err)
			}
			places := &imagePlaces{roots: []string{images}}
			p, err := places.of(filepath.Join(images, c.file))
			if err != nil {
				t.Fatal(err)
			}
			if b, err := p.read(); string(b) != good || err != nil {
				t.Fatalf("before: %q, %v", b, err)
			}
			if err := c.replace(images, elsewhere); err != nil {
				t.Fatal(err)
			}
			if b, err := p.read(); len(b) > 0 || err == nil {
				t.Errorf("%q, %v is read", b, err)
			}
		})
	}
}

// TestOwnersOfPlaces: from outside of --images nothing is taken that another user may have put there.
func TestOwnersOfPlaces(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	images, elsewhere := t.TempDir(), t.TempDir()
	for _, dir := range []string{images, elsewhere} {
		put(t, dir+"/a.yaml", "name: a")
		if err := os.Chown(dir+"/a.yaml", 12345, 12345); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(elsewhere+"/a.yaml", images+"/out.yaml"); err != nil {
		t.Fatal(err)
	}
	places := &imagePlaces{roots: []string{images}}
	for file, ok := range map[string]bool{"a.yaml": true, "out.yaml": false} {
		p, err := places.of(filepath.Join(images, file))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := p.read(); (err == nil) != ok {
			t.Errorf("%s: %q, %v", file, b, err)
		}
	}
	if err := os.Chown(elsewhere+"/a.yaml", os.Geteuid(), 12345); err != nil {
		t.Fatal(err)
	}
	if p, err := places.of(images + "/out.yaml"); err != nil {
		t.Error(err)
	} else if b, err := p.read(); string(b) != "name: a" || err != nil {
		t.Errorf("of our own: %q, %v", b, err)
	}
}
