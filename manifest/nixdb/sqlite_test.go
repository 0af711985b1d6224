package nixdb_test

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/nixreg/nixreg/manifest/nixdb"
)

// database is what SQLite reads.
type database struct {
	t    testing.TB
	file string
	db   *sql.DB
}

// write makes a database of paths.
func write(t testing.TB, paths []nixdb.Path) *database {
	t.Helper()
	b, err := nixdb.Database(paths)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "db.sqlite")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return open(t, file)
}

func open(t testing.TB, file string) *database {
	t.Helper()
	name := url.URL{Scheme: "file", Path: file, RawQuery: "_pragma=foreign_keys(1)&_pragma=synchronous(off)"}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &database{t, file, db}
}

// query returns rows as lines, NULL as nothing.
func (d *database) query(query string, args ...any) []string {
	d.t.Helper()
	rows, err := d.db.QueryContext(d.t.Context(), query, args...)
	if err != nil {
		d.t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		d.t.Fatal(err)
	}
	var lines []string
	for rows.Next() {
		texts, to := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range texts {
			to[i] = &texts[i]
		}
		if err := rows.Scan(to...); err != nil {
			d.t.Fatal(err)
		}
		var b strings.Builder
		for i, s := range texts {
			if i > 0 {
				b.WriteByte('|')
			}
			b.WriteString(s.String)
		}
		lines = append(lines, b.String())
	}
	if err := rows.Err(); err != nil {
		d.t.Fatalf("%s: %v", query, err)
	}
	return lines
}

func (d *database) exec(query string, args ...any) {
	d.t.Helper()
	if _, err := d.db.ExecContext(d.t.Context(), query, args...); err != nil {
		d.t.Fatalf("%s: %v", query, err)
	}
}

// refuses expects an error.
func (d *database) refuses(query string, args ...any) {
	d.t.Helper()
	if _, err := d.db.ExecContext(d.t.Context(), query, args...); err == nil {
		d.t.Errorf("%s %.100q: no error", query, args)
	}
}

func (d *database) equal(want []string, query string, args ...any) {
	d.t.Helper()
	got := d.query(query, args...)
	if slices.Equal(got, want) {
		return
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			d.t.Errorf("%s: row %d is\n%.300q, want\n%.300q", query, i+1, got[i], want[i])
			return
		}
	}
	d.t.Errorf("%s: %d rows, want %d", query, len(got), len(want))
}

// sound checks the file from end to end: trees, order, indexes against tables, unused and twice used pages, constraints.
func (d *database) sound() {
	d.t.Helper()
	d.equal([]string{"ok"}, "PRAGMA integrity_check") // quick_check is part of it
	d.equal(nil, "PRAGMA foreign_key_check")
}

// holds checks that the tables hold these paths and nothing else.
func (d *database) holds(paths []nixdb.Path) {
	d.t.Helper()
	valid, refs := rows(paths)
	d.equal(valid, "SELECT id, path, hash, registrationTime, deriver, narSize, ultimate, sigs, ca FROM ValidPaths ORDER BY id")
	d.equal(refs, "SELECT referrer, reference FROM Refs NOT INDEXED ORDER BY rowid")
	d.equal(nil, "SELECT * FROM DerivationOutputs")
	var highest []string
	if n := len(paths); n > 0 {
		highest = []string{fmt.Sprintf("ValidPaths|%d", n)}
	}
	d.equal(highest, "SELECT * FROM sqlite_sequence")
}

func TestDatabase(t *testing.T) {
	for _, tt := range []struct{ paths, refs int }{{0, 0}, {1, 0}, {1, 1}, {2, 2}, {10, 4}, {100, 100}, {1000, 20}, {50_000, 3}} {
		t.Run(fmt.Sprint(tt.paths), func(t *testing.T) {
			t.Parallel()
			paths := newGenerator(uint64(tt.paths)).closure(tt.paths, tt.refs)
			d := write(t, paths)
			d.sound()
			d.holds(paths)
			for i := 0; i < len(paths); i += 1 + len(paths)/100 {
				d.equal([]string{paths[i].NarHash}, "SELECT hash FROM ValidPaths WHERE path = ?", paths[i].Path)
			}
			d.equal(nil, "SELECT * FROM ValidPaths WHERE path = ?", "/nix/store/zzz")
		})
	}
}

// A path that everything refers to, and one that refers to everything.
func TestManyReferences(t *testing.T) {
	paths := newGenerator(7).closure(3000, 0)
	for i := range paths {
		paths[0].References = append(paths[0].References, paths[i].Path, paths[i].Path)
		paths[i].References = append(paths[i].References, paths[1].Path)
	}
	d := write(t, paths)
	d.sound()
	d.holds(paths)
	d.equal([]string{"3000"}, "SELECT count(*) FROM Refs WHERE reference = (SELECT id FROM ValidPaths WHERE path = ?)", paths[1].Path)
	d.equal([]string{"3000"}, "SELECT count(*) FROM Refs WHERE referrer = (SELECT id FROM ValidPaths WHERE path = ?)", paths[0].Path)
}

// Rows at every length around those where SQLite begins to use overflow pages, and where these are just full.
func TestLongRows(t *testing.T) {
	var paths []nixdb.Path
	g := newGenerator(3)
	for _, around := range []int{4061, 489 + 4092, 4061 + 4092, 489 + 2*4092, 4061 + 2*4092, 50_000} {
		for size := around - 300; size < around+20; size++ {
			p := nixdb.Path{Path: "/nix/store/" + g.word(32, base32) + "-x", NarHash: g.hash(), NarSize: 1000}
			p.Sigs = []string{g.word(size-100, base32)}
			paths = append(paths, p)
		}
	}
	d := write(t, paths)
	d.sound()
	d.holds(paths)
}

// Sizes on both sides of where an integer takes another byte.
func TestIntegers(t *testing.T) {
	var paths []nixdb.Path
	g := newGenerator(4)
	for bits := range 63 {
		for _, size := range []int64{1<<bits - 1, 1 << bits, 1<<bits + 1} {
			paths = append(paths, nixdb.Path{Path: g.name(""), NarHash: g.hash(), NarSize: size})
		}
	}
	d := write(t, append(paths, nixdb.Path{Path: g.name(""), NarHash: g.hash(), NarSize: math.MaxInt64}))
	d.sound()
	d.equal([]string{"189"}, "SELECT count(*) FROM ValidPaths WHERE narSize > 0")
	for _, p := range paths[1:] { // the first has none
		d.equal([]string{fmt.Sprint(p.NarSize)}, "SELECT narSize FROM ValidPaths WHERE path = ?", p.Path)
	}
}

func TestHeader(t *testing.T) {
	d := write(t, newGenerator(1).closure(10, 3))
	for pragma, want := range map[string]string{
		"page_size": "4096", "encoding": "UTF-8", "journal_mode": "delete", "freelist_count": "0", "auto_vacuum": "0",
		"schema_version": "1", "user_version": "0", "application_id": "0",
	} {
		d.equal([]string{want}, "PRAGMA "+pragma)
	}
}

// Nix goes on with the database: it switches to a write-ahead log, adds paths and deletes them.
func TestWriteMore(t *testing.T) {
	paths := newGenerator(5).closure(2000, 8)
	d := write(t, paths)
	d.equal([]string{"wal"}, "PRAGMA journal_mode = wal")
	insert := "INSERT INTO ValidPaths (path, hash, registrationTime) VALUES (?, 'sha256:0', 2)"
	d.refuses(insert, paths[0].Path)
	for i, p := range newGenerator(6).closure(500, 0) {
		d.exec(insert, p.Path)
		d.equal([]string{fmt.Sprint(2001 + i)}, "SELECT id FROM ValidPaths WHERE path = ?", p.Path)
		d.exec("INSERT INTO Refs VALUES (?, ?)", 2001+i, 1+i)
	}
	d.exec("INSERT INTO DerivationOutputs VALUES (1, 'out', '/nix/store/x')")
	d.refuses("INSERT INTO DerivationOutputs VALUES (1, 'out', '/nix/store/y')")
	d.refuses("INSERT INTO Refs VALUES (2001, 1)")
	d.refuses("INSERT INTO Refs VALUES (1, 9999)")
	d.sound()

	// Nobody refers to the paths that are new, and they go with their references, one of them to itself.
	d.exec("INSERT INTO Refs VALUES (2001, 2001)")
	d.refuses("DELETE FROM ValidPaths WHERE id = 1")
	d.exec("DELETE FROM ValidPaths WHERE id > 2000")
	d.exec("DELETE FROM DerivationOutputs")
	d.sound()
	d.exec(insert, "/nix/store/new")
	d.equal([]string{"2501"}, "SELECT id FROM ValidPaths WHERE path = '/nix/store/new'") // no id is ever given out again
	d.exec("DELETE FROM ValidPaths WHERE id > 2000")
	d.exec("UPDATE sqlite_sequence SET seq = 2000")
	d.holds(paths)

	d.exec("DELETE FROM Refs WHERE referrer <> reference")
	for id := 1; id <= 2000; id += 2 {
		d.exec("DELETE FROM ValidPaths WHERE id = ?", id)
	}
	d.sound()
	d.equal([]string{"1000"}, "SELECT count(*) FROM ValidPaths")
}

// FuzzDatabase makes closures of any shape, each of which SQLite must find sound.
func FuzzDatabase(f *testing.F) {
	f.Add(uint64(0), uint16(0), uint8(0), uint16(0))
	f.Add(uint64(1), uint16(300), uint8(10), uint16(100))
	f.Add(uint64(2), uint16(40), uint8(40), uint16(9000))
	f.Fuzz(func(t *testing.T, seed uint64, n uint16, refs uint8, sig uint16) {
		g := newGenerator(seed)
		paths := g.closure(int(n)%600, int(refs))
		for i := range paths {
			if sig > 0 && g.IntN(3) == 0 {
				paths[i].Sigs = append(paths[i].Sigs, g.word(1+g.IntN(int(sig)), base32))
			}
		}
		d := write(t, paths)
		d.sound()
		d.holds(paths)
	})
}

// FuzzPath gives a path any text: it is refused, or written as it is.
func FuzzPath(f *testing.F) {
	for _, p := range helloPaths() {
		f.Add(p.Path, p.NarHash, p.NarSize, p.Path, p.Deriver, p.CA, strings.Join(p.Sigs, ""))
	}
	f.Add(hello, helloPaths()[0].NarHash, int64(0), hello, "", "", "a:b")
	f.Add("/nix/store/.", "sha256:", int64(-1), "/", "/nix/store/x", "\x00", "\n")
	f.Fuzz(func(t *testing.T, path, hash string, size int64, reference, deriver, ca, sig string) {
		paths := []nixdb.Path{{Path: path, NarHash: hash, NarSize: size, References: []string{reference}, Deriver: deriver, CA: ca, Sigs: []string{sig}}}
		if _, err := nixdb.Database(paths); err != nil {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("error %v", err)
			}
			return
		}
		d := write(t, paths)
		d.sound()
		d.holds(paths)
	})
}
