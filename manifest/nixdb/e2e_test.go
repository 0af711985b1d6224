package nixdb_test

import (
	"bufio"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/manifest/nixdb"
)

// What conformance/nix/mkstore.sh keeps in the store: two closures that share nothing.
const (
	tinyRoot  = "/nix/var/nix/gcroots/nixreg-test/t1-tiny"
	helloRoot = "/nix/var/nix/gcroots/nixreg-test/hello"
)

// nixRoot is a directory that Nix takes for the root of a file system.
type nixRoot struct {
	t   *testing.T
	dir string
}

// run gives a command of Nix some input, expects that it succeeds, and returns what it prints.
func (r *nixRoot) run(input string, arg ...string) (stdout, stderr string) {
	r.t.Helper()
	remote := "local"
	if r.dir != "" {
		remote = "local?root=" + r.dir
	}
	c := exec.CommandContext(r.t.Context(), arg[0], arg[1:]...)
	c.Env = append(os.Environ(), "NIX_REMOTE="+remote, "USER=nobody", "NIX_CONFIG=build-users-group =\nsandbox = false\nsubstitute = false")
	c.Stdin = strings.NewReader(input)
	var errs strings.Builder
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		r.t.Fatalf("%v: %v\n%s", arg, err, errs.String())
	}
	return string(out), errs.String()
}

func (r *nixRoot) lines(arg ...string) []string {
	r.t.Helper()
	out, _ := r.run("", arg...)
	return slices.Sorted(strings.FieldsSeq(out))
}

func (r *nixRoot) verify() {
	r.t.Helper()
	// Nix deletes from the database what it finds wrong, says so, and succeeds.
	if _, errs := r.run("", "nix-store", "--verify", "--check-contents"); strings.Contains(errs, "disappeared") || strings.Contains(errs, "modified") {
		r.t.Errorf("nix-store --verify --check-contents:\n%s", errs)
	}
}

// bring copies store paths of this machine.
func (r *nixRoot) bring(paths []string) {
	r.t.Helper()
	c := exec.CommandContext(r.t.Context(), "cp", append([]string{"-a", "-t", filepath.Join(r.dir, "nix/store")}, paths...)...)
	if out, err := c.CombinedOutput(); err != nil {
		r.t.Fatalf("cp: %v\n%s", err, out)
	}
}

// lay writes files as an image's layer would have them.
func (r *nixRoot) lay(files []nixdb.File) {
	r.t.Helper()
	for _, f := range files {
		var err error
		switch name := filepath.Join(r.dir, f.Name); f.Mode.Type() {
		case fs.ModeDir:
			err = os.Mkdir(name, f.Mode.Perm())
		case fs.ModeSymlink:
			err = os.Symlink(f.Link, name)
		default:
			err = os.WriteFile(name, f.Data, f.Mode.Perm())
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

func newNixRoot(t *testing.T) *nixRoot {
	r := &nixRoot{t, t.TempDir()}
	t.Cleanup(func() { // the directories of a store may not be written to
		_ = filepath.WalkDir(r.dir, func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				_ = os.Chmod(name, 0o755)
			}
			return nil
		})
	})
	return r
}

// dump returns what the Nix of this machine knows of paths, and that in its own words.
func dump(t *testing.T, names []string) ([]nixdb.Path, string) {
	t.Helper()
	text, _ := (&nixRoot{t: t}).run("", append([]string{"nix-store", "--dump-db"}, names...)...)
	var paths []nixdb.Path
	s := bufio.NewScanner(strings.NewReader(text))
	line := func() string {
		if !s.Scan() {
			t.Fatalf("dump ends early:\n%s", text)
		}
		return s.Text()
	}
	number := func() int {
		n, err := strconv.Atoi(line())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for s.Scan() {
		p := nixdb.Path{Path: s.Text(), NarHash: "sha256:" + line(), NarSize: int64(number()), Deriver: line()}
		for range number() {
			p.References = append(p.References, line())
		}
		paths = append(paths, p)
	}
	return paths, text
}

func needNix(t *testing.T) {
	t.Helper()
	if os.Getenv("NIXREG_E2E") != "1" {
		t.Skip("needs a real Nix store: set NIXREG_E2E=1 where there is one")
	}
}

func resolve(t *testing.T, link string) string {
	t.Helper()
	p, err := os.Readlink(link)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestNix has Nix use a database: look things up, verify, add, collect garbage.
func TestNix(t *testing.T) {
	needNix(t)
	host, r := &nixRoot{t: t}, newNixRoot(t)
	app, other := resolve(t, tinyRoot), resolve(t, helloRoot)
	closure := host.lines("nix-store", "--query", "--requisites", app)
	paths, text := dump(t, closure)
	files, err := nixdb.Files(paths, []string{app})
	if err != nil {
		t.Fatal(err)
	}
	r.lay(files)
	r.bring(closure)

	r.verify()
	if got, _ := r.run("", append([]string{"nix-store", "--dump-db"}, closure...)...); got != text {
		t.Errorf("dump of the database is\n%s, want\n%s", got, text)
	}
	for _, query := range []string{"--requisites", "--references", "--referrers", "--size", "--hash", "--deriver", "--tree"} {
		arg := []string{"nix-store", "--query", query, app}
		if got, want := r.lines(arg...), host.lines(arg...); !slices.Equal(got, want) {
			t.Errorf("%v: %q, want %q", arg, got, want)
		}
	}
	if dead := r.lines("nix-store", "--gc", "--print-dead"); len(dead) > 0 {
		t.Errorf("garbage: %q", dead)
	}

	more := host.lines("nix-store", "--query", "--requisites", other)
	_, text = dump(t, more)
	r.bring(more)
	r.run(text, "nix-store", "--load-db")
	r.verify()
	if got := r.lines("nix-store", "--query", "--requisites", other); !slices.Equal(got, more) {
		t.Errorf("requisites of what was loaded: %q, want %q", got, more)
	}
	if got := r.lines("nix-store", "--realise", other, app); len(got) != 2 {
		t.Errorf("realise: %q", got)
	}
	r.run("", "nix-store", "--gc")
	if left := r.lines("nix-store", "--query", "--requisites", app); !slices.Equal(left, closure) {
		t.Errorf("after garbage collection: %q, want %q", left, closure)
	}
	d := open(t, filepath.Join(r.dir, "nix/var/nix/db/db.sqlite"))
	d.equal([]string{strconv.Itoa(len(closure))}, "SELECT count(*) FROM ValidPaths")
	d.sound()
	if out, err := exec.CommandContext(t.Context(), "sqlite3", d.file, "PRAGMA integrity_check").CombinedOutput(); err != nil || string(out) != "ok\n" {
		t.Errorf("sqlite3: %v\n%s", err, out)
	}
}

// TestSchema compares the schema with that of a database which Nix made.
func TestSchema(t *testing.T) {
	needNix(t)
	r := newNixRoot(t)
	r.run("", "nix-store", "--load-db")
	theirs, ours := open(t, filepath.Join(r.dir, "nix/var/nix/db/db.sqlite")), write(t, nil)
	const objects = "SELECT type, name, tbl_name, sql IS NULL FROM sqlite_schema"
	ours.equal(theirs.query(objects), objects)
	for _, table := range []string{"ValidPaths", "Refs", "DerivationOutputs", "sqlite_sequence"} {
		for _, pragma := range []string{
			"SELECT cid, name, upper(type), \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?)",
			"SELECT * FROM pragma_foreign_key_list(?)",
			"SELECT * FROM pragma_index_list(?)",
			"SELECT l.name, x.* FROM pragma_index_list(?) l JOIN pragma_index_xinfo(l.name) x",
			"SELECT ncol, wr, strict FROM pragma_table_list WHERE name = ?",
		} {
			ours.equal(theirs.query(pragma, table), pragma, table)
		}
	}
	const trigger = "SELECT lower(replace(replace(replace(sql, ' ', ''), char(10), ''), ';', '')) FROM sqlite_schema WHERE type = 'trigger'"
	ours.equal(theirs.query(trigger), trigger)
	schema, err := os.ReadFile(filepath.Join(r.dir, "nix/var/nix/db/schema"))
	if err != nil || string(schema) != "10" {
		t.Errorf("schema of Nix is %q (%v)", schema, err)
	}
}
