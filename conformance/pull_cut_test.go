package conformance_test

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// cutting is a registry that closes the connection in the middle of each blob, unless it is asked for the rest.
type cutting struct {
	http.Handler

	mu    sync.Mutex // guards what follows
	cuts  int
	rests int
}

func (c *cutting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.URL.Path, "/blobs/") || r.Method != http.MethodGet {
		c.Handler.ServeHTTP(w, r)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Header.Get("Range") != "" {
		c.rests++
		c.Handler.ServeHTTP(w, r)
		return
	}
	c.cuts++
	c.Handler.ServeHTTP(&halfWriter{w}, r)
	panic(http.ErrAbortHandler)
}

// halfWriter sends half of the first bytes written.
type halfWriter struct{ http.ResponseWriter }

func (h *halfWriter) Write(p []byte) (int, error) {
	if _, err := h.ResponseWriter.Write(p[:len(p)/2]); err != nil {
		return 0, err
	}
	_ = http.NewResponseController(h.ResponseWriter).Flush() // what is not sent by then is cut, too
	return len(p), nil
}

func TestPullGoesOnAfterACut(t *testing.T) {
	c := readPullCase(t, "many")
	registry := &cutting{Handler: c}
	out := filepath.Join(t.TempDir(), "image.tar")
	nixregPull(t, "docker://"+serving(t, registry)+"/"+pullRepository+"@"+c.Digest, "-o", out, "--arch", c.Arch,
		"--final-name", c.FinalName, "--final-tag", c.FinalTag)
	if got := sri(readFile(t, out)); got != c.Archive {
		t.Errorf("archive is %s, want %s", got, c.Archive)
	}
	if registry.cuts != 7 || registry.rests != 7 {
		t.Errorf("%d blobs were cut and %d resumed, want the configuration and six layers", registry.cuts, registry.rests)
	}
}

// pullUntil starts a pull of c into dir/image.tar and sends a signal once a layer is asked for. After release the
// registry answers.
func (c *pullCase) pullUntil(t *testing.T, dir string, s os.Signal) (cmd *exec.Cmd, stderr string, release func()) {
	t.Helper()
	begun, end := make(chan bool, 8), make(chan struct{})
	host := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, c.layer()) {
			begun <- true
			<-end
		}
		c.ServeHTTP(w, r)
	}))
	release = sync.OnceFunc(func() { close(end) })
	t.Cleanup(release) // before the server waits for its handlers
	cmd = exec.CommandContext(t.Context(), binary, "pull", "--tls-verify=false", "docker://"+host+"/"+pullRepository+"@"+c.Digest,
		"--final-name", c.FinalName, "--final-tag", c.FinalTag, "-o", filepath.Join(dir, "image.tar"))
	var b bytes.Buffer
	cmd.Stderr = &b
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-begun:
	case err := <-ended:
		t.Fatalf("ended before it had begun: %v\n%s", err, b.String())
	}
	if err := cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	<-ended
	return cmd, b.String(), release
}

// A signal ends a pull, and nothing is left.
func TestPullIsInterrupted(t *testing.T) {
	dir := t.TempDir()
	cmd, stderr, _ := readPullCase(t, "many").pullUntil(t, dir, syscall.SIGTERM)
	if cmd.ProcessState.ExitCode() != 1 || !strings.HasSuffix(stderr, "nixreg: interrupted\n") {
		t.Errorf("ended: %v\n%s", cmd.ProcessState, stderr)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// A pull that is killed leaves nothing under the file's name, nor anything that keeps the next one from making it.
func TestPullIsKilled(t *testing.T) {
	dir, c := t.TempDir(), readPullCase(t, "many")
	cmd, _, release := c.pullUntil(t, dir, syscall.SIGKILL)
	entries, err := os.ReadDir(dir)
	named := func(e os.DirEntry) bool { return !strings.HasPrefix(e.Name(), ".nixreg-") }
	if err != nil || slices.ContainsFunc(entries, named) {
		t.Errorf("left: %v, %v", entries, err)
	}
	release()
	output(t, nil, cmd.Args[0], cmd.Args[1:]...)
	if got := sri(readFile(t, filepath.Join(dir, "image.tar"))); got != c.Archive {
		t.Errorf("archive is %s, want %s", got, c.Archive)
	}
}

// layer is the digest of a layer: the first blob that was added.
func (c *pullCase) layer() string { return sha256Of(c.Blobs[0]) }
