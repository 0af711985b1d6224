package outfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func writing(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

func wantFile(t *testing.T, name, want string) {
	t.Helper()
	if b, err := os.ReadFile(name); err != nil || string(b) != want {
		t.Errorf("%s has %q, %v; want %q", name, b, err, want)
	}
}

func TestWriteFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.tar")
	if err := WriteFile(name, false, writing("one")); err != nil {
		t.Fatal(err)
	}
	wantFile(t, name, "one")
	if err := WriteFile(name, false, func(io.Writer) error { t.Error("called"); return nil }); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the file exists: %v", err)
	}
	wantFile(t, name, "one")
	if err := WriteFile(name, true, writing("two")); err != nil {
		t.Fatal(err)
	}
	wantFile(t, name, "two")
	entries, err := os.ReadDir(filepath.Dir(name))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the file: %v, %v", entries, err)
	}
}

// A file that somebody else makes in the meantime is theirs.
func TestFileMadeMeanwhile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.tar")
	err := WriteFile(name, false, func(w io.Writer) error {
		if err := os.WriteFile(name, []byte("theirs"), 0o600); err != nil {
			t.Fatal(err)
		}
		return writing("ours")(w)
	})
	if !errors.Is(err, fs.ErrExist) || err.Error() != name+": file already exists" {
		t.Errorf("error is %v", err)
	}
	wantFile(t, name, "theirs")
	entries, err := os.ReadDir(filepath.Dir(name))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the file: %v, %v", entries, err)
	}
}

// The same where there are no links.
func TestClaim(t *testing.T) {
	dir := t.TempDir()
	temp, name := filepath.Join(dir, "temp"), filepath.Join(dir, "x.tar")
	for _, c := range []struct {
		ours string // "" is no file, which cannot be renamed
		kind error
		want string // what the file has then
	}{{"", fs.ErrNotExist, ""}, {"one", nil, "one"}, {"two", fs.ErrExist, "one"}} {
		if c.ours != "" {
			if err := os.WriteFile(temp, []byte(c.ours), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := claim(temp, name); !errors.Is(err, c.kind) {
			t.Errorf("%q: error is %v, want %v", c.ours, err, c.kind)
		}
		if c.want == "" {
			wantEmpty(t, dir)
			continue
		}
		wantFile(t, name, c.want)
	}
}

// Until all is written there is no file of that name, or the old one.
func TestUnfinishedFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.tar")
	broken := errors.New("broken")
	err := WriteFile(name, false, func(w io.Writer) error {
		if err := writing("half")(w); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("half written, there is a file: %v", err)
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
	wantEmpty(t, filepath.Dir(name))
}

func TestWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink("target", link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir, link, "/dev/null"} {
		if err := WriteFile(name, true, writing("x")); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := WriteFile(filepath.Join(dir, "absent", "x"), true, writing("x"))
	if want := "create " + filepath.Join(dir, "absent", "x") + ": no such file or directory"; err == nil || err.Error() != want || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left in the directory: %v, %v", entries, err)
	}
}
