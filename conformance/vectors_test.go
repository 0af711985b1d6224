package conformance_test

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The tables of digests that must not move. The older ones, which package manifest holds from inside, have no sizes. That of format 1
// has the images by package name that the layering nixpkgs still gives.
const (
	vectorTable  = "testdata/vectors.txt"
	olderTable   = "../manifest/testdata/manifests.txt"
	format1Table = "../manifest/testdata/manifests-format1.txt"
)

// readOlder reads the older tables. A group of format 1 is not read from the other one.
func readOlder(t *testing.T) []vector {
	t.Helper()
	rows := readVectors(t, format1Table)
	other := slices.DeleteFunc(readVectors(t, olderTable), func(r vector) bool { return len(vectorsOf(rows, r.Group)) > 0 })
	return append(rows, other...)
}

// vector is one line of a table: a document or a blob that a server gives for a name.
type vector struct {
	Group  string // of references, see scenes
	Ref    string // repository:tag
	What   string // media type; of what refers to a manifest its artifact type; blob: and the type of what that has in it
	Digest string
	Size   int64 // -1 where the table has none
}

func (r vector) String() string {
	if r.Size < 0 {
		return fmt.Sprintf("%s %s %s %s", r.Group, r.Ref, r.What, r.Digest)
	}
	return fmt.Sprintf("%s %s %s %s %d", r.Group, r.Ref, r.What, r.Digest, r.Size)
}

// readVectors reads a table, without its comments.
func readVectors(t *testing.T, file string) (rows []vector) {
	t.Helper()
	lines := bufio.NewScanner(bytes.NewReader(readFile(t, file)))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		r := vector{Size: -1}
		var err error
		if len(f) == 5 {
			r.Size, err = strconv.ParseInt(f[4], 10, 64)
		}
		if len(f) < 4 || len(f) > 5 || err != nil {
			t.Fatalf("%s: %q is no row", file, lines.Text())
		}
		r.Group, r.Ref, r.What, r.Digest = f[0], f[1], f[2], f[3]
		rows = append(rows, r)
	}
	return rows
}

// vectorsOf are those of one group.
func vectorsOf(rows []vector, group string) []vector {
	return slices.DeleteFunc(slices.Clone(rows), func(r vector) bool { return r.Group != group })
}

// withoutSizes are rows as the older table has them, which knows no blobs either.
func withoutSizes(rows []vector) (older []vector) {
	for _, r := range rows {
		if r.Size = -1; !strings.HasPrefix(r.What, "blob:") {
			older = append(older, r)
		}
	}
	return older
}

// numbered are vectors by what they are of.
type numbered struct {
	names []vectorName // in their order
	all   map[vectorName]vector
}

type vectorName struct {
	group, ref, what string
	n                int // of several of one type
}

func number(rows []vector) numbered {
	in := numbered{all: make(map[vectorName]vector)}
	for _, r := range rows {
		at := vectorName{group: r.Group, ref: r.Ref, what: r.What}
		for in.all[at].Digest != "" {
			at.n++
		}
		in.names, in.all[at] = append(in.names, at), r
	}
	return in
}

// sameVectors fails the test for each row that differs, with what it was and what it is.
func sameVectors(t *testing.T, table string, got, want []vector) {
	t.Helper()
	is, was := number(got), number(want)
	for _, at := range was.names {
		w, g := was.all[at], is.all[at]
		if g.Digest == "" {
			t.Errorf("%s: gone: %s", table, w)
		} else if g != w {
			t.Errorf("%s: %s %s %s\nwas %s %d\nis  %s %d", table, w.Group, w.Ref, w.What, w.Digest, w.Size, g.Digest, g.Size)
		}
	}
	for _, at := range is.names {
		if was.all[at].Digest == "" {
			t.Errorf("%s: new: %s", table, is.all[at])
		}
	}
}

// crawl asks a server for all that names stand for, and reads every byte of it.
type crawl struct {
	*server
	rows []vector
	read map[string]bool // blobs, with their repositories
}

func newCrawl(s *server) *crawl { return &crawl{server: s, read: make(map[string]bool)} }

// name adds the rows of a reference: what it stands for in each media type, and what refers to that.
func (c *crawl) name(t *testing.T, group, ref string) {
	t.Helper()
	before, refusal := len(c.rows), ""
	repo, tag, _ := strings.Cut(ref, ":")
	for _, mediaType := range []string{ociIndex, dockerList, ociManifest, dockerManifest} {
		d, body := c.offer(t, repo, tag, mediaType)
		if d.Digest == "" {
			refusal = string(body)
			continue
		}
		c.rows = append(c.rows, vector{group, ref, mediaType, d.Digest, int64(len(body))})
		c.contents(t, repo, d)
		c.referrers(t, group, ref, d)
	}
	if len(c.rows) == before {
		t.Errorf("%s %s: %s", group, ref, refusal)
	}
}

// absent fails the test if a reference stands for something.
func (c *crawl) absent(t *testing.T, ref string) {
	t.Helper()
	repo, tag, _ := strings.Cut(ref, ":")
	resp := c.get(t, "/v2/"+repo+"/manifests/"+tag, ociIndex, dockerList, ociManifest, dockerManifest)
	defer resp.Body.Close()
	if resp.StatusCode < 400 || resp.StatusCode >= 500 {
		t.Errorf("%s: %s; there must be no such image", ref, resp.Status)
	}
}

// offer fetches a document in one media type; if the server refuses, the digest is "". By its digest it is the same.
func (c *crawl) offer(t *testing.T, repo, ref, mediaType string) (d document, body []byte) {
	t.Helper()
	path := "/v2/" + repo + "/manifests/"
	resp := c.get(t, path+ref, mediaType)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("GET %s%s: %v", path, ref, err)
	}
	if resp.StatusCode != http.StatusOK {
		return document{}, body
	}
	d = c.manifest(t, repo, ref, mediaType)
	if got := sha256Of(body); got != d.Digest || d.MediaType != mediaType {
		t.Errorf("GET %s%s: a %s, %s and then %s", path, ref, d.MediaType, got, d.Digest)
	}
	c.manifest(t, repo, d.Digest)
	return d, body
}

// contents reads the blobs of a manifest, or those of the manifests of an index.
func (c *crawl) contents(t *testing.T, repo string, d document) {
	t.Helper()
	for _, child := range d.Manifests {
		c.contents(t, repo, c.manifest(t, repo, child.Digest))
	}
	for _, b := range d.blobs() {
		if key := repo + b.Digest; !c.read[key] {
			c.read[key] = true
			c.blob(t, repo, b)
		}
	}
}

// referrers adds rows for what refers to a document, and for what that has in it.
func (c *crawl) referrers(t *testing.T, group, ref string, subject document) {
	t.Helper()
	repo, _, _ := strings.Cut(ref, ":")
	var list struct {
		Manifests []struct {
			descriptor
			ArtifactType string `json:"artifactType"`
		} `json:"manifests"`
	}
	c.json(t, "/v2/"+repo+"/referrers/"+subject.Digest, &list)
	for _, r := range list.Manifests {
		d := c.manifest(t, repo, r.Digest)
		c.rows = append(c.rows, vector{group, ref, cmp.Or(r.ArtifactType, r.MediaType), r.Digest, r.Size})
		c.contents(t, repo, d)
		for _, l := range d.Layers {
			c.rows = append(c.rows, vector{group, ref, "blob:" + l.MediaType, l.Digest, l.Size})
		}
	}
}

// Digests that a client was ever given are those of today: by package name, by definition, of archives and layouts, and of
// the bills of materials.
func TestVectors(t *testing.T) {
	newer, older := readVectors(t, vectorTable), readOlder(t)
	unasked := make(map[string]bool)
	for _, r := range slices.Concat(newer, older) {
		unasked[r.Group] = true
	}
	for _, sc := range scenes(t) {
		for _, g := range sc.groups {
			delete(unasked, g.name)
		}
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			c := newCrawl(start(t, sc.options))
			for _, g := range sc.groups {
				for _, ref := range g.refs {
					c.name(t, g.name, ref)
				}
				for _, ref := range g.absent {
					c.absent(t, ref)
				}
				if got := vectorsOf(c.rows, g.name); g.older {
					sameVectors(t, olderTable, withoutSizes(got), vectorsOf(older, g.name))
				} else {
					sameVectors(t, vectorTable, got, vectorsOf(newer, g.name))
				}
			}
		})
	}
	for group := range unasked {
		t.Errorf("nobody asks for the rows of %s", group)
	}
}

// TestMakeVectors adds rows for references that the table does not have yet, as the program that NIXREG names gives them.
// It changes none that is there. It does nothing unless NIXREG_MAKE_VECTORS=1.
func TestMakeVectors(t *testing.T) {
	if os.Getenv("NIXREG_MAKE_VECTORS") != "1" {
		t.Skip("changes the source: run with NIXREG_MAKE_VECTORS=1, as testdata/README.md says")
	}
	if os.Getenv("NIXREG") == "" {
		t.Fatal("the program of today is no judge of itself: NIXREG=FILE names the one that gave the digests out")
	}
	table := string(readFile(t, vectorTable))
	has := make(map[[2]string]bool)
	for _, r := range readVectors(t, vectorTable) {
		has[[2]string{r.Group, r.Ref}] = true
	}
	for _, sc := range scenes(t) {
		c := newCrawl(start(t, sc.options))
		for _, g := range sc.groups {
			for _, ref := range g.refs {
				if !g.older && !has[[2]string{g.name, ref}] {
					c.name(t, g.name, ref)
				}
			}
		}
		for _, r := range c.rows {
			table += r.String() + "\n"
		}
	}
	if t.Failed() {
		return
	}
	if err := os.WriteFile(vectorTable, []byte(table), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Every argument that the documentation lists for definitions is in one of those whose digests are held.
func TestVectorsUseEveryArgument(t *testing.T) {
	_, rest, ok := strings.Cut(string(readFile(t, "../docs/coming-from-dockertools.md")), "\n| Argument |")
	table, _, _ := strings.Cut(rest, "\n\n")
	if !ok {
		t.Fatal("the page has no table of arguments")
	}
	text := string(readFile(t, filepath.Join(vectorDefinitions, "arguments.yaml")))
	for _, line := range strings.Split(table, "\n")[2:] {
		cells := strings.Split(line, "|")
		for _, argument := range strings.Split(cells[1], ",") {
			argument = strings.Trim(strings.Fields(argument)[0], "`")
			if needsBuild := strings.Contains(cells[3], "need"); !needsBuild && argument != "compressor" && !strings.Contains(text, argument+":") {
				t.Errorf("no definition has the argument %s", argument)
			}
		}
	}
}
