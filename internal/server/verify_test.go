package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nixreg/nixreg/registry/dockerarchive"
	"github.com/nixreg/nixreg/store"
)

// dataOf makes a data directory with a file of each kind that is kept, and some that are none, and returns the names of
// those that are, below it.
func dataOf(t *testing.T) (dir string, names []string) {
	t.Helper()
	dir = t.TempDir()
	write := func(name string, data []byte) string {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	data := []byte("the bytes of something")
	sum := sha256.Sum256(data)
	digits := hex.EncodeToString(sum[:])
	var base bytes.Buffer
	if err := dockerarchive.Write(t.Context(), &base, dockerarchive.Image{Name: "a", Tag: "b", Config: []byte(`{"os":"linux"}`)}); err != nil {
		t.Fatal(err)
	}
	for _, none := range []string{"lock", "version", "blobs/README", "blobs/incomplete-1", "nars/tmp-1", "mirror/incoming/blob-1", "mirror/sha256/" + digits, "badger/MANIFEST"} {
		write(none, []byte("x"))
	}
	return dir, []string{
		write("bases/"+digits+"-linux-amd64.tar", base.Bytes()),
		write("blobs/"+digits, data),
		write("mirror/sha256/"+digits[:2]+"/"+digits, data),
		write("nars/"+strings.Repeat("0", 32)+"-"+store.EncodeBase32(sum[:])+".nar", data),
	}
}

// verifying verifies as the command does, whose flags are --data and --dry-run, and returns its exit status and what it prints.
func verifying(ctx context.Context, args ...string) (status int, stderr string) {
	var out strings.Builder
	err := Verify(ctx, Verification{Dir: args[1], DryRun: len(args) > 2, Damaged: func(name string, err error) {
		fmt.Fprintf(&out, "nixreg: %s: %v\n", name, err)
	}})
	if err != nil {
		fmt.Fprintln(&out, "nixreg:", err)
		status = 1
	}
	return status, out.String()
}

// With nothing damaged nothing is said and nothing is changed, whether there is much, little or nothing at all.
func TestVerifyFindsNothing(t *testing.T) {
	dir, names := dataOf(t)
	for _, d := range []string{dir, t.TempDir()} {
		if status, said := verifying(t.Context(), "--data", d); status != 0 || said != "" {
			t.Errorf("status %d: %s", status, said)
		}
	}
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if status, said := verifying(t.Context(), "--data", filepath.Join(dir, "none")); status != 1 || !strings.Contains(said, "no such file") {
		t.Errorf("an absent directory: status %d: %s", status, said)
	}
}

// Whatever happened to a kept file, of whichever kind, it is named in a line of its own and removed; the others stay.
func TestVerifyRemovesWhatIsDamaged(t *testing.T) {
	_, kinds := dataOf(t)
	for name, damage := range map[string]func(file string) error{
		"flipped": func(f string) error {
			b, err := os.ReadFile(f)
			if err != nil {
				return err
			}
			b[bytes.IndexAny(b, "b\"")] ^= 1
			return os.WriteFile(f, b, 0o600)
		},
		"truncated": func(f string) error { return os.Truncate(f, 10) },
		"emptied":   func(f string) error { return os.Truncate(f, 0) },
		"zeroed":    func(f string) error { return os.WriteFile(f, make([]byte, 4096), 0o600) },
	} {
		for _, kind := range kinds {
			dir, names := dataOf(t)
			if err := damage(filepath.Join(dir, kind)); err != nil {
				t.Fatal(err)
			}
			for _, dry := range []bool{true, false} {
				args := []string{"--data", dir}
				if dry {
					args = append(args, "--dry-run")
				}
				status, said := verifying(t.Context(), args...)
				if status != 1 || strings.Count(said, "\n") != 2 || !strings.HasPrefix(said, "nixreg: "+kind+": ") ||
					!strings.HasSuffix(said, fmt.Sprintf("nixreg: 1 of 4 files in %s are damaged\n", dir)) || strings.Contains(said, "; removed\n") == dry {
					t.Errorf("%s, %s: status %d: %s", kind, name, status, said)
				}
			}
			for _, other := range names {
				if _, err := os.Stat(filepath.Join(dir, other)); (err != nil) != (other == kind) {
					t.Errorf("%s, %s: %s: %v", kind, name, other, err)
				}
			}
			if status, said := verifying(t.Context(), "--data", dir); status != 0 || said != "" {
				t.Errorf("%s, %s: the second time: status %d: %s", kind, name, status, said)
			}
		}
	}
}

// What has the name of a kept file, and is none, is removed as far as that loses nothing else.
func TestVerifyFindsWhatIsNoFile(t *testing.T) {
	dir, names := dataOf(t)
	full, empty, link := filepath.Join(dir, names[1]), filepath.Join(dir, names[2]), filepath.Join(dir, names[3])
	for _, name := range []string{full, empty, link} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{os.MkdirAll(filepath.Join(full, "x"), 0o700), os.Mkdir(empty, 0o700), os.Symlink("/dev/zero", link)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	status, said := verifying(t.Context(), "--data", dir)
	if status != 1 || strings.Count(said, "\n") != 4 || strings.Count(said, "; removed\n") != 2 || strings.Count(said, "cannot be removed") != 1 {
		t.Errorf("status %d: %s", status, said)
	}
	if _, err := os.Stat(filepath.Join(full, "x")); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(link); !os.IsNotExist(err) {
		t.Error(err)
	}
}

// Nobody reads what another process may be writing; which one it is is said to either.
func TestVerifyTakesTheLock(t *testing.T) {
	dir, names := dataOf(t)
	for command, want := range map[string]string{"serve": "another nixreg serve is using it (pid ", "verify": "another nixreg verify is using it (pid "} {
		data, err := lockDataDir(dir, command)
		if err != nil {
			t.Fatal(err)
		}
		if status, said := verifying(t.Context(), "--data", dir); status != 1 || !strings.Contains(said, want) || strings.Count(said, "\n") != 1 {
			t.Errorf("%s has it: status %d: %s", command, status, said)
		}
		if err := data.close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(filepath.Join(dir, names[1]), 3); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if status, said := verifying(ctx, "--data", dir); status != 1 || !strings.Contains(said, "interrupted: 0 of 4 files") {
		t.Errorf("interrupted: status %d: %s", status, said)
	}
	if _, err := os.Stat(filepath.Join(dir, names[1])); err != nil {
		t.Errorf("an interrupted one removes: %v", err)
	}
}

// A file that we may not read is not known to be damaged.
func TestVerifyKeepsWhatItCannotRead(t *testing.T) {
	v := &verification{Verification: Verification{Dir: t.TempDir(), Damaged: func(string, error) {}}}
	name := filepath.Join(v.Dir, "file")
	for err, want := range map[error]string{
		&fs.PathError{Op: "open", Err: syscall.EACCES}: "cannot be read", syscall.EIO: "are damaged", syscall.EMFILE: "cannot be read",
		syscall.ENFILE: "cannot be read", syscall.ENOMEM: "cannot be read", syscall.ESTALE: "cannot be read", syscall.EINTR: "cannot be read",
		errors.New("it is no archive"): "are damaged",
	} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		got := v.run(t.Context(), []keptFile{{name, func(context.Context, io.Reader) error { return err }}})
		if got == nil || !strings.Contains(got.Error(), want) {
			t.Errorf("%v: %v", err, got)
		}
		if _, stat := os.Stat(name); (stat == nil) != (want == "cannot be read") {
			t.Errorf("%v: %v", err, stat)
		}
	}
}

// What is not nixreg's stays, whether it is asked to remove or not: files of other names, and what links lead to.
func TestVerifyLeavesWhatIsNotItsOwn(t *testing.T) {
	dir := t.TempDir()
	bases := filepath.Join(dir, "bases")
	if err := os.Mkdir(bases, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".keep", "foo.tar", strings.Repeat("a", 64) + ".tar"} {
		writeTo(t, filepath.Join(bases, name), "x")
	}
	files, err := keptFiles(folders{blobs: dir + "/blobs", nars: dir + "/nars", mirror: dir + "/mirror", bases: bases})
	if err != nil || len(files) != 0 {
		t.Errorf("%d files, %v", len(files), err)
	}
	if left, err := os.ReadDir(bases); err != nil || len(left) != 3 {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := os.Symlink(bases, dir+"/blobs"); err != nil {
		t.Fatal(err)
	}
	if _, err := keptFiles(folders{blobs: dir + "/blobs"}); err == nil || !strings.Contains(err.Error(), "is no directory") {
		t.Errorf("a link in place of a directory: %v", err)
	}
}
