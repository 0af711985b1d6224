package server

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// secret is what files have that nobody is to see. It is a word in every grammar.
const secret = "hushpassword"

// gonePath is a store path that is not there, and has the secret in its name.
const gonePath = "/nix/store/00000000000000000000000000000000-" + secret

// lockedBuffer is a log that requests write to at the same time.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// imageServer serves the image files of a directory.
type imageServer struct {
	*httptest.Server
	dir  string
	log  *lockedBuffer
	made *parts
}

func serveImages(t *testing.T, roots ...string) *imageServer {
	t.Helper()
	mem := storetest.New()
	mem.Add("hello-1.0", storetest.Files{"": storetest.Dir(), "bin": storetest.Dir(), "bin/hello": storetest.Exec("#!/bin/sh\n")})
	s := &imageServer{dir: roots[0], log: new(lockedBuffer), made: new(parts)}
	log := slog.New(slog.NewTextHandler(s.log, nil))
	err := s.made.openSource(manifest.Config{Stores: []store.Store{mem}, Images: roots, Cache: new(digests.Memory), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.made.close() })
	s.Server = httptest.NewServer(s.made.handler("", nil, wait, log))
	t.Cleanup(s.Close)
	return s
}

// answers are all that a client can see of an image, and of the health of the server.
func (s *imageServer) answers(t *testing.T, repository string) string {
	t.Helper()
	var all strings.Builder
	digest := "sha256:" + strings.Repeat("0", 64)
	for _, path := range []string{
		"/healthz", "/v2/_catalog", "/v2/" + repository + "/tags/list", "/v2/" + repository + "/manifests/latest", "/v2/" + repository + "/manifests/v1",
		"/v2/" + repository + "/manifests/" + digest, "/v2/" + repository + "/blobs/" + digest, "/v2/" + repository + "/referrers/" + digest,
	} {
		resp := fetch(t, s.URL+path)
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "%s: %d %v %s\n", path, resp.StatusCode, resp.Header, body)
	}
	return all.String()
}

func writeTo(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// tarOf is an archive of files, by name and text in turn.
func tarOf(t *testing.T, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Size: int64(len(files[i+1])), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, files[i+1])
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// confWith is a conf.json with one key more, which counts where it is there before.
func confWith(key, value string) string {
	doc := map[string]string{
		"architecture": `"amd64"`, "config": "{}", "os": `"linux"`, "store_layers": "[]", "customisation_layer": `"` + gonePath + `"`,
		"repo_tag": `"x:v1"`, "created": `"1970-01-01T00:00:01+00:00"`,
	}
	doc[key] = value
	var parts []string
	for k, v := range doc {
		parts = append(parts, fmt.Sprintf("%q: %s", k, v))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// layoutWith is an OCI layout with one manifest.
func layoutWith(manifest, descriptor string) map[string]string {
	digest := fmt.Sprintf("%x", sha256.Sum256([]byte(manifest)))
	if descriptor == "" {
		descriptor = fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%d}`, digest, len(manifest))
	}
	return map[string]string{
		"leak/oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "leak/index.json": `{"schemaVersion":2,"manifests":[` + descriptor + `]}`, "leak/blobs/sha256/" + digest: manifest,
	}
}

// leaks are image files that are wrong, each with the secret in what is wrong.
func leaks(t *testing.T) map[string]map[string]string {
	definition := func(text string) map[string]string { return map[string]string{"leak.yaml": text} }
	inJSON := func(text string) map[string]string { return map[string]string{"leak.json": text} }
	conf := func(key, value string) map[string]string { return inJSON(confWith(key, value)) }
	archive := func(files ...string) map[string]string { return map[string]string{"leak.tar": tarOf(t, files...)} }
	based := func(base string) map[string]string {
		return map[string]string{"leak.yaml": "name: leak\nfromImage: .base.tar\n", ".base.tar": base}
	}
	return map[string]map[string]string{
		"the case":            definition("name: leak\nconfig: DB_PASSWORD=" + secret + "\n"),
		"no YAML":             definition("name: leak\n" + secret + "\n"),
		"no YAML at all":      definition("{" + secret + ": ]" + secret),
		"text":                definition("root:$6$" + secret + ":19000:0:99999:7:::\nbin:*:19000::::::\n"),
		"number":              definition("name: leak\nmaxLayers: " + secret + "\n"),
		"unknown key":         definition("name: leak\n" + secret + ": 1\n"),
		"key twice":           definition("name: leak\nconfig:\n  " + secret + ": 1\n  " + secret + ": 2\n"),
		"anchor":              definition("name: leak\nconfig: *" + secret + "\n"),
		"tag of YAML":         definition("name: leak\nconfig: !" + secret + " {}\n"),
		"escape":              definition("name: leak\ntag: \"\\q" + secret + "\"\n"),
		"tab":                 definition("name: leak\nconfig:\n\t" + secret + ": 1\n"),
		"name":                definition("name: '" + secret + "!'\n"),
		"tag":                 definition("name: leak\ntag: '" + secret + "!'\n"),
		"time":                definition("name: leak\ncreated: " + secret + "\n"),
		"architecture":        definition("name: leak\narchitecture: " + secret + "-\n"),
		"layering":            definition("name: leak\nlayering: " + secret + "\n"),
		"root":                definition("name: leak\nroot: [" + secret + "]\n"),
		"NUL":                 definition("name: leak\nuname: \"" + secret + "\\0\"\n"),
		"octal":               definition("name: leak\nconfig: {Labels: {" + secret + ": 0777}}\n"),
		"float":               definition("name: leak\nconfig: {Labels: {" + secret + ": 1.5}}\n"),
		"second image":        definition("- {name: leak, tag: " + secret + "}\n- {name: leak, tag: " + secret + "}\n"),
		"package":             definition("name: leak\ncontents: " + secret + "\n"),
		"tag of a package":    definition("name: leak\ncontents: hello:" + secret + "\n"),
		"store path":          definition("name: leak\ncontents: " + gonePath + "\n"),
		"no store path":       definition("name: leak\ncontents: /srv/" + secret + "\n"),
		"mentioned path":      definition("name: leak\nconfig: {Cmd: [" + gonePath + "/bin/x]}\n"),
		"base image":          definition("name: leak\nfromImage: " + secret + ".tar\n"),
		"base in the store":   definition("name: leak\nfromImage: " + gonePath + "\n"),
		"base of a registry":  definition("name: leak\nfromImage: docker://" + secret + ".example/a@sha256:" + strings.Repeat("0", 64) + "\n"),
		"transport of a base": definition("name: leak\nfromImage: ftp://" + secret + "\n"),
		"user":                definition("name: leak\nroot: [passwd]\nconfig: {User: '" + secret + ":" + strings.Repeat("x", 40) + "!'}\n"),
		"type of Env":         definition("name: leak\nconfig: {Env: " + secret + "}\n"),
		"definition in JSON":  inJSON(`{"name": "leak", "config": "` + secret + `"}`),
		"no JSON":             inJSON(`{"name": "leak", ` + secret + `}`),
		"surrogate":           inJSON(`{"name": "leak", "uname": "` + secret + `\ud800"}`),

		"conf.json, cut":         inJSON(`{"store_layers": [], "` + secret),
		"conf.json: tag":         conf("repo_tag", `"`+secret+`"`),
		"conf.json: os":          conf("os", `"`+secret+`"`),
		"conf.json: arch":        conf("architecture", `"`+secret+`!"`),
		"conf.json: store":       conf("store_dir", `"/`+secret+`"`),
		"conf.json: created":     conf("created", `"`+secret+`"`),
		"conf.json: uid":         conf("uid", `"`+secret+`"`),
		"conf.json: uname":       conf("uname", `"`+secret+`\n"`),
		"conf.json: layers":      conf("store_layers", `[["`+secret+`"]]`),
		"conf.json: type":        conf("store_layers", `"`+secret+`"`),
		"conf.json: gone":        conf("store_layers", `[["`+gonePath+`"]]`),
		"conf.json: gone, below": conf("store_layers", `[["`+gonePath+`/x"]]`),
		"conf.json: base":        conf("from_image", `"`+secret+`"`),
		"script":                 {"leak": "#!/bin/sh\nexec x /" + secret + "-conf.json\n"},
		"script, gone":           {"leak": "#!/bin/sh\nexec x " + gonePath + "-conf.json\n"},

		"archive of no list":     archive("manifest.json", secret),
		"archive of objects":     archive("manifest.json", `{"`+secret+`": 1}`),
		"archive without config": archive("manifest.json", `[{"Config":"`+secret+`.json","Layers":[]}]`),
		"archive, odd config":    archive("manifest.json", `[{"Config":"c","Layers":[]}]`, "c", `{"`+secret),
		"archive, odd digest":    archive("manifest.json", `[{"Config":"c","Layers":["l"]}]`, "c", `{"rootfs":{"diff_ids":["`+secret+`"]}}`, "l", "x"),
		"archive without layer":  archive("manifest.json", `[{"Config":"c","Layers":["`+secret+`"]}]`, "c", `{"rootfs":{"diff_ids":["sha256:`+strings.Repeat("0", 64)+`"]}}`),
		"archive, wrong layer":   archive("manifest.json", `[{"Config":"c","Layers":["`+secret+`"]}]`, "c", `{"rootfs":{"diff_ids":["sha256:`+strings.Repeat("0", 64)+`"]}}`, secret, "x"),
		"no archive":             {"leak.tar": "\x1f\x8b" + secret},
		"base, no archive":       based(secret),
		"base of no list":        based(tarOf(t, "manifest.json", `"`+secret+`"`)),
		"base without layer":     based(tarOf(t, "manifest.json", `[{"Config":"c","Layers":["`+secret+`"]}]`, "c", `{"rootfs":{"diff_ids":["sha256:`+strings.Repeat("0", 64)+`"]}}`)),

		"layout, odd index":    {"leak/oci-layout": "{}", "leak/index.json": secret},
		"layout, odd digest":   layoutWith("{}", `{"digest":"`+secret+`"}`),
		"layout, other digest": layoutWith("{}", `{"digest":"`+secret+`:00"}`),
		"layout, odd manifest": layoutWith(`{"`+secret, ""),
		"layout, other type":   layoutWith(`{"mediaType":"`+secret+`"}`, ""),
		"layout, odd config":   layoutWith(`{"config":{"digest":"`+secret+`"}}`, ""),
	}
}

// No text of a file is in any answer, whatever is wrong with it and whoever is told. The log has it.
func TestNoTextOfAFileIsInAnAnswer(t *testing.T) {
	for name, files := range leaks(t) {
		t.Run(name, func(t *testing.T) {
			s := serveImages(t, t.TempDir())
			for file, text := range files {
				writeTo(t, filepath.Join(s.dir, file), text)
			}
			s.made.source.Catalog().Reload(t.Context())
			got := s.answers(t, "leak")
			if strings.Contains(got, secret) {
				t.Errorf("it is told:\n%s", got)
			}
			if strings.Contains(got, s.dir) {
				t.Errorf("it is told where the files are:\n%s", got)
			}
			if !strings.Contains(got, "/v2/leak/manifests/latest: 404") && !strings.Contains(got, "/v2/leak/manifests/latest: 50") {
				t.Errorf("the image is not broken:\n%s", got)
			}
			for line := range strings.Lines(got) {
				if strings.HasPrefix(line, "/v2/leak/manifests/latest: 404") && !strings.Contains(line, "nixreg check") {
					t.Errorf("who asks for it is not told where to look: %s", line)
				}
			}
			if log := s.log.String(); !strings.Contains(log, "path=/v2/leak/manifests/latest status=") || strings.Contains(log, "err=\"\"") {
				t.Errorf("the log does not tell: %s", log)
			}
		})
	}
}

// What is read at the start, or was good before, is told no more of.
func TestNoTextOfABrokenEditIsInAnAnswer(t *testing.T) {
	dir := t.TempDir()
	writeTo(t, filepath.Join(dir, "leak.yaml"), "name: leak\ncontents: hello\n")
	s := serveImages(t, dir)
	before := s.answers(t, "leak")
	if !strings.Contains(before, "/v2/leak/manifests/latest: 200") || strings.Contains(before, "fault: ") {
		t.Fatal(before)
	}
	for _, c := range []struct {
		text, fault string
		logged      string
	}{
		{"name: leak\nconfig: DB_PASSWORD=" + secret + "\n", "fault: leak.yaml:2:9: a value of another type than the key takes\n", `leak.yaml:2:9: config: want an object, not the text \"DB_PASSWORD=` + secret},
		{"name: leak\n" + secret + ": 1\n", "fault: leak.yaml:2:1: unknown key\n", `leak.yaml:2:1: unknown key \"` + secret},
		{"- {name: leak}\n- {name: " + secret, "fault: leak.yaml:2:", "leak.yaml:2:"}, // the YAML library does not say what it has read
	} {
		writeTo(t, filepath.Join(dir, "leak.yaml"), c.text)
		s.made.source.Catalog().Reload(t.Context())
		got := s.answers(t, "leak")
		if strings.Contains(got, secret) || !strings.Contains(got, c.fault) || !strings.Contains(got, "/v2/leak/manifests/latest: 200") {
			t.Errorf("%s:\n%s", c.text, got)
		}
		if !strings.Contains(s.log.String(), c.logged) {
			t.Errorf("the log does not tell %s: %s", c.logged, s.log.String())
		}
	}
}

// What a channel's files have is told no more of.
func TestNoTextOfAChannelIsInAnAnswer(t *testing.T) {
	s := serveImages(t, t.TempDir())
	for _, err := range []error{
		fmt.Errorf("store-paths.xz: line 3: %q: %w", secret, store.ErrUnavailable), fmt.Errorf("%w: %s", store.ErrUnavailable, secret),
	} {
		s.made.channels = []store.Channel{listed{err: err}, outdated{listed{}, err}}
		got := s.answers(t, "leak")
		if strings.Contains(got, secret) || strings.Count(got, "fault: the channel x cannot be read") != 2 {
			t.Errorf("healthz says:\n%s", got)
		}
	}
}
