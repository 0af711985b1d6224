package conformance_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// target is one image as a client is told of it, and what must be found there.
type target struct {
	column    string // of the table
	host      string // localhost:port
	repo      string
	reference string // ":tag" or "@digest"
	top       string // digest of the index, or of the manifest if there is no index
	manifest  string // digest of the manifest for this machine
	config    string // digest of its configuration, which is the image's ID
	layer     descriptor
	says      string // how the output of its program begins; "" if the program cannot run
}

// image is the target's name as clients have it.
func (i target) image() string { return i.host + "/" + i.repo + i.reference }

// operation is one thing that one client does with an image.
type operation struct {
	client, name string
	do           func(ctx context.Context, dir string, i target) error // nil only if the client got what the target says; dir is empty
	refuses      func(encoding string, i target) *refusal              // nil if it takes everything
}

// refusal is an error that is known and expected: a limit of the client.
type refusal struct {
	text   string // is in the error
	reason string // for people
}

// encoding is one way in which layers are served.
type encoding struct {
	name string
	args []string // of nixreg serve
}

var encodings = []encoding{
	{name: "tar"},
	{name: "gzip", args: []string{"--layer-encoding", "gzip"}},
	{name: "zstd", args: []string{"--layer-encoding", "zstd"}},
}

// cellTimeout bounds what one client may take for one image.
const cellTimeout = 5 * time.Minute

// cell is one client's operation with all images in one encoding: a row of the table.
type cell struct {
	operation
	encoding
	targets []target
	row     *row
}

// TestClients lets every client do all it can with every image. Clients work side by side, each with a storage of its own;
// what one client does is done in order.
func TestClients(t *testing.T) {
	endToEnd(t)
	operations := clientOperations(t)
	var tb table
	t.Cleanup(func() { tb.publish(t) }) // after the clients
	var clients []string
	work := make(map[string][]cell) // by client
	for _, e := range encodings {
		targets := clientTargets(t, e)
		for _, i := range targets {
			if !slices.Contains(tb.columns, i.column) {
				tb.columns = append(tb.columns, i.column)
			}
		}
		for _, op := range operations {
			if !slices.Contains(clients, op.client) {
				clients = append(clients, op.client)
			}
			work[op.client] = append(work[op.client], cell{op, e, targets, tb.add(op.client, op.name, e.name, targets)})
		}
	}
	for _, client := range clients {
		t.Run(client, func(t *testing.T) {
			t.Parallel()
			for _, c := range work[client] {
				c.fill(t)
			}
		})
	}
}

func (c cell) fill(t *testing.T) {
	for _, i := range c.targets {
		t.Run(strings.Join([]string{c.operation.name, c.encoding.name, i.column}, "/"), func(t *testing.T) {
			c.row.cells[i.column] = "FAIL"
			if verdict := c.try(t, c.encoding, i); verdict != "" {
				c.row.cells[i.column] = verdict
			}
		})
	}
}

// try returns what the table is to say, or "" if the test failed.
func (op operation) try(t *testing.T, e encoding, i target) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cellTimeout)
	defer cancel()
	var expected *refusal
	if op.refuses != nil {
		expected = op.refuses(e.name, i)
	}
	err := op.do(ctx, t.TempDir(), i)
	switch {
	case err == nil && expected == nil:
		return "pass"
	case err == nil:
		t.Errorf("passes, although it should be refused: %s", expected.reason)
	case expected == nil || !strings.Contains(err.Error(), expected.text):
		t.Error(err)
	default:
		return "refused: " + expected.reason
	}
	return ""
}

// clientOperations starts what the clients need. Whatever is absent ends the test. An engine that has the layers of an image
// under another name does not ask for them, so Docker's is new.
func clientOperations(t *testing.T) []operation {
	t.Helper()
	second := startRegistry(t, "") // copies go there
	return slices.Concat(
		dockerOperations(startDocker(t, "{}")),
		podmanOperations(newContainers(t)),
		buildahOperations(newContainers(t)),
		skopeoOperations(newContainers(t).skopeo),
		containerdOperations(startContainerd(t)),
		craneOperations(program{path: goTool(t, crane)}, second.Host),
		regctlOperations(program{path: goTool(t, regctl)}, second.Host),
		orasOperations(program{path: goTool(t, oras)}),
	)
}

// clientTargets are the images, served in one encoding: all of them as tar, hello in the others too.
func clientTargets(t *testing.T, e encoding) []target {
	t.Helper()
	real, small := big(t), demo
	real.Args = slices.Concat(real.Args, serveAs(t), e.args)
	small.Args = slices.Concat(small.Args, serveAs(t), e.args)
	s := start(t, real)
	hello := s.target(t, "hello", "latest")
	hello.column, hello.says = "hello by tag", "Hello, world!\n"
	pinned := hello
	pinned.column, pinned.reference = "hello by digest", "@"+hello.top
	if e.name != "tar" {
		return []target{hello, pinned}
	}
	d := start(t, small)
	layers97 := s.target(t, "e-big", "latest")
	layers97.column = "big (97 layers)"
	index := d.target(t, "hello", "latest")
	index.column, index.says = "demo (index)", "Hello from nixreg!"
	return []target{hello, pinned, layers97, index}
}

// target asks a server what it has under a name, as clients that know OCI's types see it.
func (s *server) target(t *testing.T, repo, tag string) target {
	t.Helper()
	top := s.manifest(t, repo, tag, accepts["oci"]...)
	m := top
	for _, child := range top.Manifests {
		if child.Platform.Architecture == "amd64" {
			m = s.manifest(t, repo, child.Digest)
		}
	}
	if len(m.Layers) == 0 {
		t.Fatalf("%s:%s has no layers for amd64", repo, tag)
	}
	return target{
		host: s.Host, repo: repo, reference: ":" + tag,
		top: top.Digest, manifest: m.Digest, config: m.Config.Digest, layer: m.Layers[0],
	}
}

// same compares what a client says with what it must say.
func same(what, got, want string) error {
	if got = strings.TrimSpace(got); got != want {
		return fmt.Errorf("%s is %.300q, want %q", what, got, want)
	}
	return nil
}

// has looks for a line among those a client prints.
func has(what, lines, want string) error {
	if !slices.Contains(strings.Fields(lines), want) {
		return fmt.Errorf("%s: no %q in %.300q", what, want, lines)
	}
	return nil
}

// greets holds the output of a target's program against what it should say.
func (i target) greets(out string) error {
	if !strings.HasPrefix(out, i.says) {
		return fmt.Errorf("%s says %q, want %q", i.image(), out, i.says)
	}
	return nil
}

// digestOf is the digest of a file's bytes.
func digestOf(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("sha256:%x", h.Sum(nil)), nil
}

// textDigest is the digest of what a client printed.
func textDigest(s string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(s))) }
