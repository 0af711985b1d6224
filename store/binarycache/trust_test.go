package binarycache

import (
	"bytes"
	"embed"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/nar"
	"github.com/nixreg/nixreg/store/storetest"
)

// A user who forgot a key sees once why nothing is found, and which key it would take.
func TestUntrustedIsTold(t *testing.T) {
	a := storetest.NewFixture("a-1", storetest.Files{"f": storetest.File("a")})
	b := storetest.NewFixture("b-1", storetest.Files{"f": storetest.File("b")})
	for _, tc := range []struct {
		name string
		keys []PublicKey
		want []string
	}{
		{"no key", nil, []string{`signed by "another", "test-1"`, "no key is trusted"}},
		{"another key", []PublicKey{newSigner("other-1").public(t)}, []string{`signed by "another", "test-1"`, `trusted are "other-1"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var log bytes.Buffer
			s := open(t, Options{FS: makeCache(t, nar.None, newSigner("test-1"), a, b), Name: "file:///cache", Keys: tc.keys, Log: slog.New(slog.NewTextHandler(&log, nil))})
			for range 2 {
				for _, f := range []storetest.Fixture{a, b} {
					_, err := s.Object(t.Context(), f.Path)
					if !errors.Is(err, fs.ErrNotExist) {
						t.Error(err)
					}
					for _, want := range tc.want {
						if !strings.Contains(err.Error(), want) {
							t.Errorf("%v; want %q", err, want)
						}
					}
				}
			}
			if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "cache=file:///cache") {
				t.Errorf("log: %s", log.String())
			}
		})
	}
	var log bytes.Buffer
	s := open(t, Options{FS: makeCache(t, nar.None, newSigner("test-1"), a, b), Name: "file:///cache", Log: slog.New(slog.NewTextHandler(&log, nil))})
	isA := func(p store.Path) bool { return p == a.Path }
	if err := s.Refused(isA); err != nil {
		t.Errorf("before anything is read: %v", err)
	}
	for range 2 {
		for e, err := range s.List(t.Context()) {
			t.Errorf("listed: %v, %v", e, err)
		}
	}
	if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "paths=2") || !strings.Contains(log.String(), "test-1") {
		t.Errorf("log of two lists: %s", log.String())
	}
	var public interface{ Public() string }
	if err := s.Refused(isA); !errors.Is(err, store.ErrExplained) || !errors.As(err, &public) ||
		!strings.HasPrefix(public.Public(), string(a.Path)+" is not signed by a trusted key") {
		t.Errorf("why a is left out: %v", err)
	}
	if err := s.Refused(func(store.Path) bool { return false }); err != nil {
		t.Errorf("why nothing is left out: %v", err)
	}
	n := &narinfo{signatures: strings.Fields("a:1 b:1 c:1 d:1 e:1 f:1 g:1")}
	if got := n.signers(nil); !strings.HasSuffix(got, `"e", 2 more`) {
		t.Error(got)
	}
}

//go:embed testdata/tiny-cache
var embedded embed.FS

// A cache in the program is at hand; one on disk is not: its archives are to be unpacked as well.
func TestDistant(t *testing.T) {
	sub, err := fs.Sub(embedded, "testdata/tiny-cache")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		fs   fs.FS
		want bool
	}{{sub, false}, {os.DirFS("testdata/tiny-cache"), true}} {
		var s store.Distant = open(t, Options{FS: tc.fs, Trusted: true})
		if s.Distant() != tc.want {
			t.Errorf("%T: %t", tc.fs, !tc.want)
		}
	}
}

func TestOpenNeedsOneCache(t *testing.T) {
	for _, opts := range []Options{{}, {FS: os.DirFS("."), Remote: newFake(nil)}} {
		if _, err := Open(opts); !errors.Is(err, fs.ErrInvalid) {
			t.Error(err)
		}
	}
}

// What Prefetch is told is there when Open asks for it; a path that is not valid stops nothing.
func TestPrefetch(t *testing.T) {
	a := storetest.NewFixture("a-1", storetest.Files{"f": storetest.File("a")})
	none := storetest.NewFixture("none-1", storetest.Files{})
	by := newSigner("test-1")
	c := newFake(makeCache(t, nar.Zstd, by, a))
	fetched := make(chan struct{})
	n, err := parseNarinfo(string(c.files[a.Path.Hash()+narinfoSuffix].Data), "")
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, Options{Remote: c, Keys: []PublicKey{by.public(t)}, Spool: openSpool(t, SpoolOptions{})})
	c.gate = fetched
	var p store.Prefetcher = s
	p.Prefetch(t.Context(), []store.Path{none.Path, a.Path})
	close(fetched)
	storetest.Check(t, s, a.Path)
	if got := c.asked(n.url); got != 1 {
		t.Errorf("the archive was fetched %d times", got)
	}
}

// A key that is read is written as the same.
func FuzzParsePublicKey(f *testing.F) {
	f.Add("nixreg-test-1:aA1194ahC1BSjbTh+LrrnOB3d/lbv5mAL8ssSV7vm7A=")
	f.Add(" a:b\n")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParsePublicKey(s)
		if err != nil {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Error(err)
			}
			return
		}
		k.signs([]byte("message"), s)
		if again, err := ParsePublicKey(k.String()); err != nil || again.String() != k.String() {
			t.Errorf("%q, then %q, %v", k, again, err)
		}
	})
}

// Text with any other store directory than ours is never taken.
func FuzzCacheInfo(f *testing.F) {
	f.Add(cacheInfo)
	f.Add("StoreDir: /gnu/store\n")
	f.Add("a:b\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		err := checkCacheInfo(text)
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, errors.ErrUnsupported) {
			t.Error(err)
		}
		if err == nil && strings.HasPrefix(text, "StoreDir: ") && !strings.HasPrefix(text, "StoreDir: "+store.Dir+"\n") {
			t.Errorf("%q is taken", text)
		}
	})
}

// A record is read as what it says, or not at all.
func FuzzParseRecord(f *testing.F) {
	f.Add(recordHead + "1700000000\n" + goodNarinfo)
	f.Add(recordHead + "-9223372036854775808\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		text, at, ok := parseRecord(s)
		if ok && (!strings.HasPrefix(s, recordHead) || !strings.HasSuffix(s, "\n"+text) || strings.Contains(strings.TrimSuffix(s, "\n"+text), "\n")) {
			t.Errorf("%q is read as %q of %v", s, text, at)
		}
	})
}

// TestWrongSignature: a wrong signature by a trusted key is told as wrong, not as that of another key.
func TestWrongSignature(t *testing.T) {
	by := newSigner("test-1")
	f := storetest.NewFixture("a-1", storetest.Files{"f": storetest.File("a")})
	cache := makeCache(t, nar.None, signer{"test-1", newSigner("other").key}, f) // another key of the same name
	_, err := open(t, Options{FS: cache, Keys: []PublicKey{by.public(t)}}).Find(t.Context(), f.Path.Hash())
	if err == nil || !strings.Contains(err.Error(), `its signature by "test-1" is wrong`) {
		t.Error(err)
	}
}
