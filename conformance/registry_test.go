package conformance_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// The reference implementation of a registry: where copies go to, and a mirror that pulls through.
const distribution = "github.com/distribution/distribution/v3/cmd/registry@v3.1.2"

// startRegistry runs a registry of another make on a free port. With an upstream it mirrors that one, and takes no pushes.
// Of the result only address and data are set: the requests of a server can be sent to it, too.
func startRegistry(t *testing.T, upstream string) *server {
	t.Helper()
	if upstream == "" {
		return startRegistryIn(t, t.TempDir(), "")
	}
	return startRegistryIn(t, t.TempDir(), fmt.Sprintf("proxy: {remoteurl: %q}\n", upstream))
}

// startRegistryIn runs one on a directory, with more lines in its configuration.
func startRegistryIn(t *testing.T, dir, more string) *server {
	t.Helper()
	program := goTool(t, distribution)
	config := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: 127.0.0.1:0}\n", dir) + more
	file := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log := newPortLog(listeningOn)
	cmd := exec.Command(program, "serve", file)
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none", "OTEL_METRICS_EXPORTER=none", "OTEL_LOGS_EXPORTER=none")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()
	})
	select {
	case port := <-log.port:
		return &server{URL: "http://127.0.0.1:" + port, Host: "localhost:" + port, Data: dir}
	case <-time.After(patience):
		t.Fatalf("the registry does not say where it listens:\n%s", log)
		return nil
	}
}

var listeningOn = regexp.MustCompile(`listening on 127\.0\.0\.1:([0-9]+)[^0-9]`)
