package conformance_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A data directory that commit 6603b5e left, and what it had given out by then; testdata/README.md has how it was made.
const (
	oldData      = "testdata/data-6603b5e.tar.gz"
	oldDataTable = "testdata/data-6603b5e.txt"
)

// What that program was asked for, in each encoding, and from the registry that it mirrored. The store paths of some are too
// large to be kept three times.
var (
	oldEncodings = []string{"tar", "zstd", "gzip"} // tar first: it removes what is kept of the others
	oldRefs      = map[string][]string{
		"tar": refs(`app:latest app/lib/odd:latest multi:1.0 t1:latest from:latest few:latest pair:latest args/root:latest args/nixdb:latest args/links:latest
			args/base-gzip:latest args/base-registry:latest args/base-arm:latest archive/plain:v1 archive/gzipped:v1 layout/only:latest layout/named:v4`),
		"zstd": encodedOldRefs, "gzip": encodedOldRefs,
	}
	encodedOldRefs = refs(`multi:1.0 pair:latest args/passwd:latest args/base-gzip:latest args/base-registry:latest archive/plain:v1 archive/gzipped:v1 layout/only:latest`)
	mirrorRefs     = refs("lab/team/app:v1 lab/team/app:latest lab/team/docker:v1 lab/foreign:v1 lab/chart:1.0.0")
	mirrorNames    = refs("lab/team/app lab/team/docker lab/foreign lab/chart")
)

// dataInputs are what a server of that data is given.
type dataInputs struct {
	*vectorInputs
	lab *upstream
}

func newDataInputs(t *testing.T) *dataInputs {
	t.Helper()
	in := &dataInputs{newVectorInputs(t), newUpstream(t)}
	in.stock(t, "team/app", readPullCase(t, "index-oci-arm"), "v1", "latest")
	in.stock(t, "team/docker", readPullCase(t, "index-docker-arm64"), "v1")
	in.stock(t, "foreign", readPullCase(t, "foreign"), "v1")
	chart := new(pullCase)
	chart.manifest(ociManifest, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`, ociManifest,
		chart.blob("application/vnd.cncf.helm.config.v1+json", []byte(`{"name":"chart"}`)),
		chart.blob("application/vnd.cncf.helm.chart.content.v1.tar+gzip", []byte("chart"))))
	in.stock(t, "chart", chart, "1.0.0")
	signature, app := new(pullCase), readPullCase(t, "index-oci-arm")
	data, _ := app.find("manifests", app.Digest)
	signature.manifest(ociManifest, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":"application/vnd.example.signature","config":%s,"layers":[%s],"subject":%s}`,
		ociManifest, signature.blob("application/vnd.oci.empty.v1+json", []byte("{}")), signature.blob("text/plain", []byte("signed")), descriptorOf(ociIndex, data)))
	in.stock(t, "team/app", signature)
	return in
}

// stock puts an image into the registry that is mirrored.
func (in *dataInputs) stock(t *testing.T, repo string, c *pullCase, tags ...string) {
	t.Helper()
	send := func(method, path, mediaType string, b []byte) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, in.lab.back.URL+"/v2/"+repo+path, strings.NewReader(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", mediaType)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			t.Fatalf("%s %s: %s", method, req.URL, resp.Status)
		}
	}
	for _, b := range c.Blobs {
		send(http.MethodPost, "/blobs/uploads/?digest="+sha256Of(b), "application/octet-stream", b)
	}
	for _, m := range c.Manifests {
		for _, ref := range slices.Concat(tags, []string{sha256Of([]byte(m.Data))}) {
			send(http.MethodPut, "/manifests/"+ref, m.MediaType, []byte(m.Data)) // the last one keeps the tags
		}
	}
}

// server starts one on the data, with the layers of the program that the data is of.
func (in *dataInputs) server(t *testing.T, data, encoding string) *server {
	t.Helper()
	o := in.options(t, "--mirror", "lab="+in.lab.URL, "--layer-encoding", encoding)
	o.Data, o.Env = data, append(o.Env, "NIXREG_LAYERING=nixpkgs")
	return start(t, o)
}

// movedRef has another digest by its name now: the directories of its Nix database were root's, whatever owner it asks for.
const movedRef = "few:latest"

// ask is all that the program of the data was asked for in an encoding.
func (c *crawl) ask(t *testing.T, encoding string) {
	t.Helper()
	for _, ref := range oldRefs[encoding] {
		if ref != movedRef {
			c.name(t, "data-"+encoding, ref)
		}
	}
}

// askMirror is what it was asked of the registry that it mirrored.
func (c *crawl) askMirror(t *testing.T) {
	t.Helper()
	for _, ref := range mirrorRefs {
		c.name(t, "mirror", ref)
	}
	for _, repo := range mirrorNames {
		var list struct{ Tags []string }
		c.json(t, "/v2/"+repo+"/tags/list", &list)
		c.rows = append(c.rows, vector{"mirror", repo, "tags", strings.Join(list.Tags, ","), int64(len(list.Tags))})
	}
}

// outside reports whether an image is made of files outside of a store, as those of archives and base images are. Their records
// are of files by where they lie, which for this data is nowhere: they are known after their names alone.
func outside(ref string) bool {
	return strings.HasPrefix(ref, "archive/") || strings.HasPrefix(ref, "layout/") || strings.HasPrefix(ref, "args/base-")
}

// byDigest asks for documents of the table whose names nobody has asked for, and for what they consist of.
func (c *crawl) byDigest(t *testing.T, rows []vector) {
	t.Helper()
	for _, r := range rows {
		repo, _, _ := strings.Cut(r.Ref, ":")
		if !outside(r.Ref) && r.What != "tags" && !strings.HasPrefix(r.What, "blob:") {
			c.contents(t, repo, c.manifest(t, repo, r.Digest))
		}
	}
}

// oneLine fails the test if more than one line of the log complains of the data: that it is made anew may be said once.
func (s *server) oneLine(t *testing.T) {
	t.Helper()
	if lines := s.complaints(s.Data); len(lines) > 1 {
		t.Errorf("%d lines complain of the data:\n%s", len(lines), strings.Join(lines, ""))
	}
}

// complaints are the errors in the log, and the warnings that have a text.
func (s *server) complaints(text string) (lines []string) {
	for line := range strings.Lines(s.log.String()) {
		var l struct{ Level string }
		_ = json.Unmarshal([]byte(line), &l) // of another kind
		if l.Level == "ERROR" || l.Level == "WARN" && strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines
}

// withoutArchives takes away what caches would send. What describes it is still there.
func (in *dataInputs) withoutArchives(t *testing.T) {
	t.Helper()
	for i, url := range in.caches {
		dir := filepath.Join(t.TempDir(), "cache")
		if err := os.CopyFS(dir, os.DirFS(strings.TrimPrefix(url, "file://"))); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(dir, "nar")); err != nil {
			t.Fatal(err)
		}
		in.caches[i] = "file://" + dir
	}
}

// What an earlier nixreg kept is read on: no blob is fetched from a registry, no archive from a cache, no base image. Every
// digest that it had given out is served, also where its records are gone, which may be made anew.
func TestDataIsReadOn(t *testing.T) {
	in := newDataInputs(t)
	in.withoutArchives(t)
	for _, records := range []string{"with records", "without records"} {
		for _, encoding := range oldEncodings {
			t.Run(records+" "+encoding, func(t *testing.T) {
				data := filepath.Join(t.TempDir(), "data")
				unpackData(t, data)
				if records == "without records" {
					if err := os.RemoveAll(filepath.Join(data, "badger")); err != nil {
						t.Fatal(err)
					}
				}
				in.readOn(t, data, encoding)
			})
		}
	}
}

// readOn serves from the data all that it had given out in one encoding, and all of the mirror.
func (in *dataInputs) readOn(t *testing.T, data, encoding string) {
	t.Helper()
	in.lab.forget()
	in.registry.forget()
	dirs := []string{"mirror", "nars", "bases"}
	before, blobs := keepFiles(t, data, dirs...), keepFiles(t, data, "blobs")

	c, table := newCrawl(in.server(t, data, encoding)), readVectors(t, oldDataTable)
	given := slices.Concat(vectorsOf(table, "data-"+encoding), vectorsOf(table, "mirror"))
	c.byDigest(t, given)
	c.ask(t, encoding)
	c.askMirror(t)
	sameVectors(t, oldDataTable, c.rows, slices.DeleteFunc(given, func(r vector) bool { return r.Ref == movedRef }))

	before.withoutManifests(t).untouched(t)
	for _, dir := range dirs {
		before.alone(t, filepath.Join(data, dir))
	}
	blobs.alone(t, filepath.Join(data, "blobs")) // each of them may be made again
	if asked := in.lab.requests("/blobs/"); len(asked) > 0 {
		t.Errorf("blobs were asked for at the mirrored registry: %v", asked)
	}
	if asked := in.registry.requests(""); len(asked) > 0 {
		t.Errorf("the registry of base images was asked: %v", asked)
	}
	c.oneLine(t)
}

// As long as its records are read, too, no upstream is needed, layers that were compressed are not compressed again, and the
// digests of all encodings are known at once. A program that makes other records, and says so in a line, need not pass this
// test; TestDataIsReadOn it must.
func TestRecordsAreReadOn(t *testing.T) {
	table := readVectors(t, oldDataTable)
	in := newDataInputs(t)
	in.withoutArchives(t)
	in.lab.stop()
	in.registry.stop()
	for _, encoding := range []string{"zstd", "gzip"} {
		t.Run(encoding, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			unpackData(t, data)
			blobs, mirrored := keepFiles(t, data, "blobs"), keepFiles(t, data, "mirror")
			c := newCrawl(in.server(t, data, encoding))
			for _, given := range oldEncodings {
				c.byDigest(t, vectorsOf(table, "data-"+given))
			}
			for _, ref := range oldRefs[encoding] {
				if !outside(ref) {
					c.name(t, "data-"+encoding, ref)
				}
			}
			c.askMirror(t)
			want := slices.Concat(vectorsOf(table, "data-"+encoding), vectorsOf(table, "mirror"))
			sameVectors(t, oldDataTable, c.rows, slices.DeleteFunc(want, func(r vector) bool { return outside(r.Ref) }))
			blobs.untouched(t)
			blobs.used(t, c)
			mirrored.untouched(t)
		})
	}
}
