package conformance_test

import (
	"bytes"
	endian "encoding/binary"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// lie is one way in which a cache deceives about a path that an image needs.
type lie struct {
	request string // the part of the requests that are answered so
	fault   fault
	names   string // what the client or the log must be told of
}

// lies are told about leaf, which app needs. narinfo and archive are signed as they should be: a cache that has no key can
// only say less, or something else.
func lies(t *testing.T) map[string]lie {
	t.Helper()
	info, archive := hash(tinyLeaf)+".narinfo", narOf(t, tinyLeaf)
	other := readFile(t, filepath.Join(tinyCache, hash(tinyApp)+".narinfo"))
	otherArchive := readFile(t, filepath.Join(tinyCache, strings.TrimPrefix(narOf(t, tinyApp), "GET /")))
	leaf := filepath.Base(tinyLeaf)
	instead := func(b []byte) fault { return change(func([]byte) []byte { return b }) }
	edit := func(pattern, to string) fault {
		return change(func(b []byte) []byte { return regexp.MustCompile(pattern).ReplaceAll(b, []byte(to)) })
	}
	return map[string]lie{
		"another store directory": {"nix-cache-info", instead([]byte("StoreDir: /other/store\n")), "/other/store"},
		"no signature":            {info, edit(`Sig: .*\n`, ""), leaf},
		"signature of another":    {info, edit(`Sig: .*`, regexp.MustCompile(`Sig: .*`).FindString(string(other))), leaf},
		"damaged signature":       {info, edit(`Sig: (.*:)..`, "Sig: ${1}AA"), leaf},
		"altered references":      {info, edit(`References: .*`, "References: "+filepath.Base(tinyApp)), leaf},
		"altered NarHash":         {info, edit(`NarHash: sha256:.....`, "NarHash: sha256:00000"), leaf},
		"altered NarSize":         {info, edit(`NarSize: .*`, "NarSize: 424"), leaf},
		"altered compression":     {info, edit(`Compression: .*`, "Compression: none"), leaf},
		"unknown compression":     {info, edit(`Compression: .*`, "Compression: lzma9"), leaf},
		"address outside":         {info, edit(`URL: .*`, "URL: ../../../etc/passwd"), leaf},
		"narinfo of another":      {info, instead(other), leaf},
		"empty narinfo":           {info, instead(nil), leaf},
		"page for a narinfo":      {info, change(page), leaf},
		"endless narinfo":         {info, endless, leaf},
		"archive truncated":       {archive, change(shorter), leaf},
		"archive longer":          {archive, change(longer), leaf},
		"archive damaged":         {archive, change(flip(1, 2)), leaf},
		"archive damaged early":   {archive, change(flip(1, 50)), leaf},
		"archive of another":      {archive, instead(otherArchive), leaf},
		"archive empty":           {archive, instead(nil), leaf},
		"page for an archive":     {archive, change(page), leaf},
		"archive endless":         {archive, endless, leaf},
		"archive gone":            {archive, status(http.StatusNotFound), leaf},
	}
}

// endless sends bytes as long as somebody takes them.
func endless(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	junk := bytes.Repeat([]byte("StorePath: x\n"), 5000)
	for r.Context().Err() == nil {
		if _, err := w.Write(junk); err != nil {
			return
		}
	}
}

// A cache that lies gets no byte of it into an image, the path is named, and nothing stays behind that would harm the pull
// from an honest cache with the same data directory.
func TestHostileCache(t *testing.T) {
	want := tinyImage(t)
	for name, l := range lies(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := serveTiny(t)
			u.spoil(l.request, always, l.fault)
			o := caches(t, u.URL)
			s := start(t, o)
			s.isRefused(t, appImage, l.names)
			s.stop(t)
			u.heal()
			o.Data = s.Data
			start(t, o).isTiny(t, "from an honest cache", want)
		})
	}
}

// isRefused asks for an image, whose manifest must not be there, and waits until somebody is blamed: the log is written
// after the answer.
func (s *server) isRefused(t *testing.T, repo, names string) {
	t.Helper()
	code, body := s.refused(t, repo, "latest")
	s.says(t, fmt.Sprintf("the answer (%d %.200s) or the log names %s", code, body, names), func(log string) bool {
		return strings.Contains(body+log, names)
	})
	for _, secret := range []string{"root:", "<html>"} {
		if strings.Contains(body, secret) {
			t.Errorf("the answer has what the cache sent: %s", body)
		}
	}
}

// says waits until the log is as it should be.
func (s *server) says(t *testing.T, what string, ok func(log string) bool) {
	t.Helper()
	eventually(t, what, func() bool { return ok(s.log.String()) })
}

// evil are archives that nobody must unpack, with all hashes and the signature right: a key was stolen, or Nix has a bug.
func evil() map[string]forged {
	file := narFile("x")
	tree := func(entries ...narEntry) forged { return forged{NAR: narDir(entries...)} }
	return map[string]forged{
		"path upwards":          tree(narEntry{"..", file}),
		"path with a slash":     tree(narEntry{"a/../../b", file}),
		"path from the root":    tree(narEntry{"/etc/passwd", file}),
		"dot":                   tree(narEntry{".", file}),
		"no name":               tree(narEntry{"", file}),
		"zero byte":             tree(narEntry{"a\x00b", file}),
		"name twice":            tree(narEntry{"a", file}, narEntry{"a", file}),
		"link, then below":      tree(narEntry{"a", narLink("/etc")}, narEntry{"a", narTree(narEntry{"passwd", file})}),
		"unsorted":              tree(narEntry{"b", file}, narEntry{"a", file}),
		"unknown kind of node":  tree(narEntry{"a", narStrings("(", "type", "device", ")")}),
		"ends in the middle":    {NAR: narDir(narEntry{"a", file})[:120]},
		"something behind it":   {NAR: append(narDir(narEntry{"a", file}), "12345678"...)},
		"not an archive at all": {NAR: []byte("<html>")},
		"file too long":         {NAR: []byte(narStrings("nix-archive-1", "(", "type", "regular", "contents") + "\xff\xff\xff\xff\xff\xff\xff\x7f")},
		"padding is not zero":   {NAR: bytes.Replace(narDir(narEntry{"abc", file}), []byte("abc\x00"), []byte("abcX"), 1)},
	}
}

func TestHostileArchives(t *testing.T) {
	for name, p := range evil() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newForge()
			p.Path = forgedPath("evil-1.0")
			f.add(p)
			good := f.honest("good-1.0")
			u := f.serve(t)
			o := f.options(u.URL)
			s := start(t, o)
			for range 3 {
				s.isRefused(t, "store/"+hash(p.Path), "evil-1.0")
			}
			if n := u.count(f.url(p.Path)); n != 1 {
				t.Errorf("what is refused was fetched %d times", n)
			}
			s.stop(t)
			o.Data = s.Data
			start(t, o).image(t, "store/"+hash(good), "latest")
		})
	}
}

// What a narinfo says of the archive is wrong, signed as it is: of a good archive, in each of the ways there are.
func TestHostileNarinfos(t *testing.T) {
	one, other := narDir(narEntry{"data", narFile("one")}), narDir(narEntry{"data", narFile("two")})
	for name, p := range map[string]forged{
		"NarHash of another":  {NAR: one, File: other},
		"NarSize too small":   {NAR: one, NarSize: len(one) - 1},
		"NarSize too large":   {NAR: one, NarSize: len(one) + 1},
		"another compression": {NAR: one, Compression: "zstd"},
		"no compression":      {NAR: one, File: zstdOf(t, one), Compression: "none"},
		"reference outside":   {NAR: one, References: []string{"/nix/store/../../etc/passwd"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newForge()
			p.Path = forgedPath("false-1.0")
			f.add(p)
			s := start(t, f.options(f.serve(t).URL))
			s.isRefused(t, "store/"+hash(p.Path), hash(p.Path))
			if n := len(s.archives(t)); n != 0 {
				t.Errorf("%d archives are kept", n)
			}
		})
	}
}

func zstdOf(t *testing.T, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

// honest adds a path with nothing wrong in it.
func (f *forge) honest(name string) string {
	p := forged{Path: forgedPath(name), NAR: narDir(narEntry{"good", narFile("x")})}
	f.add(p)
	return p.Path
}

// A small file that unpacks to much more than was said is given up where the archive should end, in memory and on disk.
func TestHostileBombs(t *testing.T) {
	const bound, zeros = 64 << 20, 256 << 20
	archive := endian.LittleEndian.AppendUint64([]byte(narStrings("nix-archive-1", "(", "type", "regular", "contents")), zeros)
	archive = append(archive, make([]byte, zeros)...)
	bomb := brotlied(t, archive)
	small := narDir(narEntry{"data", narFile("x")})
	for name, p := range map[string]forged{
		"more than NarSize": {NAR: small, File: bomb, Compression: "br"},
		"by zstd":           {NAR: small, File: zstdOf(t, archive), Compression: "zstd"},
		"NarSize of 2^62":   {NAR: small, File: bomb, Compression: "br", NarSize: 1 << 62},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForge()
			p.Path = forgedPath("bomb-1.0")
			f.add(p)
			s := start(t, f.options(f.serve(t).URL))
			memory, written := s.peakMemory(t), s.bytesWritten(t)
			s.isRefused(t, "store/"+hash(p.Path), "bomb-1.0")
			if grown := s.peakMemory(t) - memory; grown > bound {
				t.Errorf("the server needed %d MB more", grown>>20)
			}
			if n := s.bytesWritten(t) - written; n > bound {
				t.Errorf("%d MB were written", n>>20)
			}
		})
	}
}

// bytesWritten is how much the server has written so far, by the kernel's count.
func (s *server) bytesWritten(t *testing.T) (n int64) {
	t.Helper()
	_, rest, _ := strings.Cut(string(readFile(t, fmt.Sprintf("/proc/%d/io", s.cmd.Process.Pid))), "wchar:")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatal(err)
	}
	return n
}
