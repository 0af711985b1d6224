package digests

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func mustOpen(t *testing.T, dir string) *Badger {
	t.Helper()
	b, err := OpenBadger(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// record is the n-th of the records of these tests; every third lies in the value log.
func record(n int) (key string, value []byte) {
	value = fmt.Appendf(nil, "value %d ", n)
	if n%3 == 0 {
		value = bytes.Repeat(value, 400)
	}
	return fmt.Sprintf("blob/sha256:%064d", n), value
}

// fill puts the records from lo up to hi.
func fill(t *testing.T, b *Badger, lo, hi int) {
	t.Helper()
	for n := lo; n < hi; n++ {
		k, v := record(n)
		if err := b.Put(t.Context(), k, v); err != nil {
			t.Fatal(err)
		}
	}
}

// count counts the records below n that are there, and fails on one that is wrong.
func count(t *testing.T, b *Badger, n int) (there int) {
	t.Helper()
	for i := range n {
		k, want := record(i)
		got, err := b.Get(t.Context(), k)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			t.Errorf("record %d: %v", i, err)
		case !bytes.Equal(got, want):
			t.Errorf("record %d has wrong bytes", i)
		default:
			there++
		}
	}
	return there
}

func TestBadgerKeeps(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "cache")
	b := mustOpen(t, dir)
	fill(t, b, 0, 300)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v; want mode 0700", info.Mode(), err)
	}
	if n := count(t, mustOpen(t, dir), 300); n != 300 {
		t.Errorf("%d of 300 records after a restart", n)
	}
}

func TestBadgerClosed(t *testing.T) {
	b := mustOpen(t, t.TempDir())
	if err := errors.Join(b.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(t.Context(), "k"); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("get: %v", err)
	}
	if err := b.Put(t.Context(), "k", nil); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("put: %v", err)
	}
}

func TestBadgerTooLarge(t *testing.T) {
	b := mustOpen(t, t.TempDir())
	if err := b.Put(t.Context(), strings.Repeat("k", maxKey+1), nil); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("key: %v", err)
	}
	if err := b.Put(t.Context(), "k", make([]byte, maxValue+1)); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("value: %v", err)
	}
	if err := b.Put(t.Context(), "k", make([]byte, maxValue)); err != nil {
		t.Errorf("the largest value: %v", err)
	}
	wantRecord(t, b, "k", string(make([]byte, maxValue)))
}

func TestSeal(t *testing.T) {
	sealed := seal("key", []byte("value"))
	if v, err := unseal("key", sealed); err != nil || string(v) != "value" {
		t.Errorf("%q, %v", v, err)
	}
	if _, err := unseal("other", sealed); err == nil {
		t.Error("a record under another's key is taken")
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 4
		if _, err := unseal("key", bad); err == nil {
			t.Errorf("damage of byte %d is not seen", i)
		}
		if _, err := unseal("key", sealed[:i]); err == nil {
			t.Errorf("a record of %d bytes is taken", i)
		}
	}
}

// template is a directory as a killed process leaves it: tables, value logs, and records in the write-ahead log alone.
func template(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	b := mustOpen(t, dir)
	fill(t, b, 0, 100)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = mustOpen(t, dir)
	fill(t, b, 100, 200)
	copied := filepath.Join(t.TempDir(), "killed")
	copyDir(t, copied, dir)
	return copied
}

func copyDir(t *testing.T, to, from string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

func TestBadgerKilled(t *testing.T) {
	if n := count(t, mustOpen(t, template(t)), 200); n != 200 {
		t.Errorf("%d of 200 records", n)
	}
}

// each applies change to the files of dir that match pattern.
func each(pattern string, change func([]byte) []byte) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("no %s to damage: %v", pattern, err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if data = change(data); data == nil {
				err = os.Remove(name)
			} else {
				err = os.WriteFile(name, data, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// trim shortens the zeros that badger maps beyond what was written.
func trim(b []byte) []byte {
	return b[:min(len(b), len(bytes.TrimRight(b, "\x00"))+4<<10)]
}

func remove([]byte) []byte     { return nil }
func empty([]byte) []byte      { return []byte{} }
func half(b []byte) []byte     { return b[:len(b)/2] }
func lastByte(b []byte) []byte { return b[:len(b)-1] }
func stub(b []byte) []byte     { return b[:min(7, len(b))] }
func zeros(b []byte) []byte    { return make([]byte, len(b)) }
func longer(b []byte) []byte   { return append(b, "stray bytes at the end"...) }

func garbage(b []byte) []byte {
	r := rand.New(rand.NewPCG(3, uint64(len(b))))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func ones(b []byte) []byte { return bytes.Repeat([]byte{0xff}, len(b)) }

// flips changes a byte in every 97, of the first 8 KiB and the last.
func flips(b []byte) []byte {
	for i := 30; i < len(b); i += 97 {
		if i < 8<<10 || i > len(b)-8<<10 {
			b[i] ^= 0x55
		}
	}
	return b
}

func header(b []byte) []byte {
	garbage(b[:min(20, len(b))])
	return b
}

// hugeEntry makes the second log entry claim four gigabytes.
func hugeEntry(b []byte) []byte {
	n, err := entryLen(bytes.NewReader(b), logHeaderLen, int64(len(b)))
	if err == nil && n > 0 {
		copy(b[logHeaderLen+n:], "\x00\x00\x05\xf0\xff\xff\xff\x0f\x00")
	}
	return b
}

func TestBadgerDamaged(t *testing.T) {
	if testing.Short() {
		t.Skip("computes for long in one goroutine")
	}
	from := template(t)
	for _, pattern := range []string{"*.mem", "*.vlog"} {
		each(pattern, trim)(t, from)
	}
	changes := map[string]func([]byte) []byte{
		"removed": remove, "empty": empty, "half": half, "last byte": lastByte, "stub": stub, "zeros": zeros,
		"longer": longer, "garbage": garbage, "ones": ones, "flips": flips, "header": header,
	}
	for _, pattern := range []string{"MANIFEST", "KEYREGISTRY", "DISCARD", "*.sst", "*.mem", "*.vlog", "*"} {
		for name, change := range changes {
			t.Run(pattern+" "+name, func(t *testing.T) { testDamage(t, from, each(pattern, change)) })
		}
	}
	for _, pattern := range []string{"*.mem", "*.vlog"} {
		t.Run(pattern+" huge entry", func(t *testing.T) { testDamage(t, from, each(pattern, hugeEntry)) })
	}
	for _, name := range []string{"MANIFEST", "KEYREGISTRY", "DISCARD", "x.mem", "x.vlog", "x.sst", "00001.mem"} {
		t.Run(name+" a directory", func(t *testing.T) {
			testDamage(t, from, func(t *testing.T, dir string) {
				name := filepath.Join(dir, name)
				if err := errors.Join(os.RemoveAll(name), os.Mkdir(name, 0o700)); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// testDamage opens a damaged copy of from: it must open, hold right records or none, and work.
func testDamage(t *testing.T, from string, damage func(t *testing.T, dir string)) {
	dir := filepath.Join(t.TempDir(), "cache")
	copyDir(t, dir, from)
	damage(t, dir)
	var log bytes.Buffer
	b, err := OpenBadger(dir, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	there := count(t, b, 200)
	_, statErr := os.Stat(dir + ".damaged-1")
	t.Logf("%d of 200 records; set aside: %v", there, statErr == nil)
	warned := strings.Contains(log.String(), "damaged") && strings.Contains(log.String(), dir+".damaged-1")
	if warned != (statErr == nil) || strings.Count(log.String(), "\n") > 4 {
		t.Errorf("set aside: %v, but the log is %q", statErr == nil, log.String())
	}
	fill(t, b, 0, 200)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if n := count(t, mustOpen(t, dir), 200); n != 200 {
		t.Errorf("%d of 200 records after the repair", n)
	}
}

func TestBadgerKeepsThreeAsides(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	bystander := dir + ".damaged-old"
	if err := os.Mkdir(bystander, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := mustOpen(t, dir).Close(); err != nil {
			t.Fatal(err)
		}
		each("MANIFEST", garbage)(t, dir)
	}
	mustOpen(t, dir)
	asides, err := filepath.Glob(dir + ".damaged-*")
	want := []string{dir + ".damaged-3", dir + ".damaged-4", dir + ".damaged-5", bystander}
	if err != nil || fmt.Sprint(asides) != fmt.Sprint(want) {
		t.Errorf("asides are %v, %v, want %v", asides, err, want)
	}
}

func TestBadgerLocked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	mustOpen(t, dir)
	each("MANIFEST", garbage)(t, dir) // even so: it is not ours to judge
	if b, err := OpenBadger(dir, nil); err == nil {
		b.Close()
		t.Fatal("opened twice")
	} else if !strings.Contains(err.Error(), "another process") {
		t.Errorf("open: %v", err)
	}
	wantNoAside(t, dir)
}

func TestBadgerPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	dir := filepath.Join(t.TempDir(), "cache")
	if err := os.Mkdir(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenBadger(dir, nil); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("open: %v", err)
	}
	wantNoAside(t, dir)
}

func TestEnvironmental(t *testing.T) {
	for msg, want := range map[string]bool{
		"while truncating: no space left on device": true,
		"open x: permission denied":                 true,
		`Cannot acquire directory lock on "x".  Another process is using this Badger database. err:`: true,
		"manifest has bad magic":          false,
		"file does not exist for table 3": false,
	} {
		if got := environmental(errors.New(msg)); got != want {
			t.Errorf("%q: %v", msg, got)
		}
	}
}

func wantNoAside(t *testing.T, dir string) {
	t.Helper()
	if asides, _ := filepath.Glob(dir + ".damaged-*"); len(asides) > 0 {
		t.Errorf("set aside: %v", asides)
	}
}
