package local_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/local"
	"github.com/nixreg/nixreg/store/storetest"
)

// readerRoot in the environment makes the test binary a reader of that store: see reader.
const readerRoot = "NIXREG_TEST_READER_ROOT"

func TestMain(m *testing.M) {
	if root := os.Getenv(readerRoot); root != "" {
		if err := reader(root, os.Stdin, os.Stdout); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// reader answers each line of in with a line to out: "list" with all that is valid, "object <path>" with its size or
// "absent".
func reader(root string, in io.Reader, out io.Writer) error {
	ctx := context.Background()
	s, err := local.Open(local.Options{Root: root})
	if err != nil {
		return err
	}
	defer s.Close()
	for sc := bufio.NewScanner(in); sc.Scan(); {
		what, arg, _ := strings.Cut(sc.Text(), " ")
		switch what {
		case "list":
			var all []string
			for e, err := range s.List(ctx) {
				if err != nil {
					return err
				}
				all = append(all, string(e.Path))
			}
			slices.Sort(all)
			fmt.Fprintln(out, strings.Join(all, " "))
		case "object":
			obj, err := s.Object(ctx, store.Path(arg))
			if errors.Is(err, os.ErrNotExist) {
				fmt.Fprintln(out, "absent")
			} else if err != nil {
				return err
			} else {
				fmt.Fprintln(out, obj.NarSize)
			}
		}
	}
	return nil
}

// client is a reader in a process of its own, with a user of its own.
type client struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Scanner
}

func (r *root) client(uid uint32) *client {
	r.t.Helper()
	exe := filepath.Join(r.dir, "reader")
	copyTo(r.t, exe, os.Args[0])
	for _, dir := range []string{filepath.Dir(r.dir), r.dir, exe} {
		r.must(os.Chmod(dir, 0o755))
	}
	tmp := filepath.Join(r.dir, "tmp")
	r.must(os.Mkdir(tmp, 0o777))
	r.must(os.Chmod(tmp, 0o777))
	c := exec.Command(exe)
	c.Env = []string{readerRoot + "=" + r.dir, "TMPDIR=" + tmp}
	c.Dir = "/"
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	in, err := c.StdinPipe()
	r.must(err)
	out, err := c.StdoutPipe()
	r.must(err)
	r.must(c.Start())
	r.t.Cleanup(func() {
		in.Close()
		if err := c.Wait(); err != nil {
			r.t.Error(err)
		}
		if left, _ := os.ReadDir(tmp); len(left) > 0 {
			r.t.Errorf("%s is left behind in the temporary directory", left[0].Name())
		}
	})
	return &client{r.t, in, bufio.NewScanner(out)}
}

func (c *client) ask(question string) string {
	c.t.Helper()
	fmt.Fprintln(c.in, question)
	if !c.out.Scan() {
		c.t.Fatalf("%s: the reader is gone", question)
	}
	return c.out.Text()
}

// One reader that may write nothing sees Nix come, register, clean up, delete and go, and a machine that crashed.
func TestUnprivileged(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("NIXREG_E2E") == "1" {
			t.Fatal("needs root, to become a user who may not write")
		}
		t.Skip("needs root, to become a user who may not write")
	}
	a := storetest.NewFixture("a-1", storetest.Files{"a": storetest.File("a")})
	b := storetest.NewFixture("b-1", storetest.Files{"b": storetest.File("bb")}, a.Path)
	d := storetest.NewFixture("d-1", storetest.Files{"d": storetest.File("ddd")})
	for _, uid := range []uint32{0, 65534} {
		t.Run(fmt.Sprint(uid), func(t *testing.T) {
			r := newRoot(t, a)
			c := r.client(uid)
			sees := func(when string, want ...storetest.Fixture) {
				t.Helper()
				var ps []string
				for _, f := range want {
					ps = append(ps, string(f.Path))
				}
				slices.Sort(ps)
				if got := c.ask("list"); got != strings.Join(ps, " ") {
					t.Errorf("%s: %q, want %q", when, got, ps)
				}
				for _, f := range []storetest.Fixture{a, b, d} {
					if got := c.ask("object " + string(f.Path)); (got != "absent") != slices.Contains(ps, string(f.Path)) {
						t.Errorf("%s: %s is %s", when, f.Path, got)
					}
				}
			}
			sees("idle", a)
			w := r.writer()
			w.add(b)
			sees("busy", a, b)
			w.exec(`PRAGMA wal_checkpoint(truncate)`)
			sees("busy, -wal empty", a, b)
			w.delete(b.Path)
			sees("busy, after a deletion", a)
			w.add(d)
			copyTo(t, r.db()+".new", r.db())
			copyTo(t, r.db()+".new-wal", r.db()+"-wal")
			w.close()
			sees("idle again", a, d)
			r.must(os.RemoveAll(r.db() + "-shm"))
			r.must(os.Rename(r.db()+".new-wal", r.db()+"-wal"))
			r.must(os.Rename(r.db()+".new", r.db()))
			sees("crashed", a, d)
			w = r.writer()
			w.add(b)
			sees("repaired", a, b, d)
			w.close()
			sees("idle at the end", a, b, d)
		})
	}
}
