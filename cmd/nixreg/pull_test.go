package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/nixreg/nixreg/registry/pull"
	"github.com/nixreg/nixreg/registry/upstream"
)

func TestPullDefaults(t *testing.T) {
	const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for image, want := range map[string]string{
		"docker://nginx":                        "docker-image-nginx-latest.tar",
		"docker://nginx:1.29":                   "docker-image-nginx-1.29.tar",
		"docker://127.0.0.1:5000/a/b@" + digest: "docker-image-127.0.0.1-5000-a-b-latest.tar",
	} {
		o := new(pullOptions)
		if _, err := o.complete(image, true); err != nil || o.output != want {
			t.Errorf("%s: file is %q, %v; want %q", image, o.output, err, want)
		}
	}
	for _, o := range []*pullOptions{{printNix: true}, {json: true}} {
		if _, err := o.complete("docker://nginx", true); err != nil || o.output != "" {
			t.Errorf("something is printed: file is %q, %v", o.output, err)
		}
	}
}

func TestArchiveIsNotForATerminal(t *testing.T) {
	if _, err := (&pullOptions{output: "-"}).complete("docker://nginx", true); err == nil || !strings.Contains(err.Error(), "is a terminal") {
		t.Errorf("error is %v", err)
	}
	if _, err := (&pullOptions{output: "-"}).complete("docker://nginx", false); err != nil {
		t.Error(err)
	}
}

// pushed is the name of an image in a registry of the test's own.
func pushed(t *testing.T) string {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir()) // not that of the user who runs the test
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	tag, err := name.NewTag(strings.TrimPrefix(s.URL, "http://") + "/test/image:1")
	if err != nil {
		t.Fatal(err)
	}
	image, err := random.Image(1<<20, 2)
	if err == nil {
		err = remote.Write(tag, image)
	}
	if err != nil {
		t.Fatal(err)
	}
	return "docker://" + tag.String()
}

func pulling(stdout, stderr io.Writer, args ...string) *program {
	return &program{
		args: append([]string{"pull", "--tls-verify=false", "--quiet"}, args...), lookupEnv: func(string) (string, bool) { return "", false },
		stdout: stdout, stderr: stderr,
	}
}

// An archive can go into a pipe that has a name, as it does in a shell's >(command).
func TestPullIntoAPipe(t *testing.T) {
	image, dir := pushed(t), t.TempDir()
	pipe, file := filepath.Join(dir, "pipe"), filepath.Join(dir, "file")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	read := make(chan []byte, 1)
	go func() {
		b, _ := os.ReadFile(pipe) // what is missing is seen below
		read <- b
	}()
	for _, to := range []string{pipe, file} {
		var stderr bytes.Buffer
		if status := run(t.Context(), pulling(io.Discard, &stderr, image, "-o", to)); status != 0 {
			t.Fatalf("%s: status %d: %s", to, status, stderr.String())
		}
	}
	want, err := os.ReadFile(file)
	if got := <-read; err != nil || len(want) < 2<<20 || !bytes.Equal(got, want) {
		t.Errorf("%d bytes come out of the pipe; in the file there are %d, %v", len(got), len(want), err)
	}
}

// Layers wait beside the file, where there must be room anyway; $TMPDIR may be memory.
func TestWhereLayersWait(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for output, want := range map[string]string{
		filepath.Join(dir, "x.tar"): dir, "x.tar": ".", "": os.TempDir(), "-": os.TempDir(), pipe: os.TempDir(),
	} {
		if got := (&pullOptions{output: output}).waitDir(); got != want {
			t.Errorf("%q: in %s; want %s", output, got, want)
		}
	}
}

// A pipe that nobody empties does not keep a pull from ending.
func TestPullIntoAPipeIsInterrupted(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	var stderr bytes.Buffer
	signals := make(chan os.Signal, 1)
	p := pulling(begun{w, sync.OnceFunc(func() { signals <- syscall.SIGTERM })}, &stderr, pushed(t), "-o", "-")
	p.signals = signals
	if status := run(t.Context(), p); status != 1 || !strings.HasSuffix(stderr.String(), "nixreg: interrupted\n") {
		t.Errorf("status %d: %s", status, stderr.String())
	}
}

func TestAdvice(t *testing.T) {
	ref, err := pull.ParseReference("docker://lab.test/x")
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	text := errors.New("tls: x509: certificate signed by unknown authority")
	untrusted := fmt.Errorf("%w: %w", upstream.ErrCertificate, text)
	for want, err := range map[string]error{
		" (--force replaces it)":                            fs.ErrExist,
		" (if it needs credentials: docker login lab.test)": &upstream.Error{Status: 401, Err: errors.New("x")},
		" authority (--tls-verify=false does without)":      &upstream.Error{Err: untrusted},
		"no HTTPS (--tls-verify=false does without)":        &upstream.Error{Err: upstream.ErrNotHTTPS},
		"locked":                    fmt.Errorf("%w: locked", upstream.ErrCredentials),
		"permission denied":         fs.ErrPermission, // a file
		"lab.test: " + text.Error(): &upstream.Error{Registry: "lab.test", Status: 200, Err: text},
	} {
		o := &pullOptions{tlsVerify: true}
		if got := o.advise(t.Context(), ref, fmt.Errorf("pull: %w", err)); !errors.Is(got, err) || !strings.HasSuffix(got.Error(), want) {
			t.Errorf("%v, want it to end in %q", got, want)
		}
		if got := o.advise(ended, ref, err); got.Error() != "interrupted" {
			t.Errorf("after a signal: %v", got)
		}
	}
}

// clock is a time that passes when the test says so.
type clock struct{ now time.Time }

func (c *clock) read() time.Time { return c.now }

func (c *clock) pass(d time.Duration) { c.now = c.now.Add(d) }

func TestProgressOnATerminal(t *testing.T) {
	var b strings.Builder
	c := &clock{time.Unix(0, 0)}
	p := &progress{w: &b, terminal: true, now: c.read}
	p.report(0, 2_000_000)
	if b.Len() > 0 {
		t.Errorf("at once: %q", b.String())
	}
	c.pass(time.Second)
	p.report(500_000, 2_000_000)
	p.report(600_000, 2_000_000) // too soon
	c.pass(time.Second)
	p.report(2_000_000, 2_000_000)
	fmt.Fprintln(p, "a line of the log")
	p.clear() // there is no bar any more
	c.pass(time.Second)
	p.report(2_000_000, 2_000_000)
	p.clear()
	const bar, erase = "[#######                       ]  25%  500.0 kB of 2.0 MB  500.0 kB/s", "\r\x1b[K"
	const full = "[##############################] 100%  2.0 MB of 2.0 MB  "
	want := bar + erase + full + "1.0 MB/s" + erase + "a line of the log\n" + full + "666.7 kB/s" + erase
	if b.String() != want {
		t.Errorf("shown\n%q, want\n%q", b.String(), want)
	}
}

func TestProgressElsewhere(t *testing.T) {
	var b strings.Builder
	c := &clock{time.Unix(0, 0)}
	p := &progress{w: &b, now: c.read}
	for i := range int64(12) {
		p.report(i, 0)
		c.pass(time.Second)
	}
	p.clear()
	if got := strings.Count(b.String(), "\n"); got != 2 || strings.Contains(b.String(), "\x1b") || !strings.HasPrefix(b.String(), "nixreg: [") {
		t.Errorf("shown in 11 seconds: %q", b.String())
	}
}
