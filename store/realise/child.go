package realise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nixreg/nixreg/store"
)

const (
	grace     = 5 * time.Second // between SIGTERM and SIGKILL
	maxOutput = 32 << 20        // bytes of stdout
)

// command is a program that runs as a child, in a process group of its own.
type command struct {
	name  string
	env   []string
	grace time.Duration
}

// run runs the program with args. When ctx ends, its group gets SIGTERM and, after grace, SIGKILL. run returns stdout, and leaves the
// end of stderr in t. When it returns, no process of the group is alive; one that made a group of its own may be.
func (c command) run(ctx context.Context, t *tail, args ...string) ([]byte, error) {
	// Pdeathsig ends the child with the thread that started it, so the thread must live as long.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, c.name, args...)
	cmd.Env = c.env
	cmd.SysProcAttr = processGroup()
	out := &capped{max: maxOutput}
	cmd.Stdout, cmd.Stderr = out, t
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = c.grace // then SIGKILL, and no wait for a grandchild that holds our pipes
	if err := cmd.Start(); err != nil {
		return nil, notStarted(c.name, err)
	}
	err := cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // the child itself succeeded
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the rest of the group
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, err
	case out.over:
		return nil, fmt.Errorf("%s wrote more than %d bytes", c.name, maxOutput)
	}
	return out.buf, nil
}

// notStarted hides the kind of err: a missing program must not look like a missing attribute.
func notStarted(name string, err error) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("start %s: %w: %w", name, exec.ErrNotFound, store.ErrUnavailable)
	}
	return fmt.Errorf("start %s: %v: %w", name, err, store.ErrUnavailable)
}

// ended reports whether err is the exit of a program that ran.
func ended(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit)
}

// capped keeps the first max bytes and drops the rest.
type capped struct {
	buf  []byte
	max  int
	over bool
}

func (c *capped) Write(p []byte) (int, error) {
	n := min(len(p), c.max-len(c.buf))
	c.over = c.over || n < len(p)
	c.buf = append(c.buf, p[:n]...)
	return len(p), nil
}

// passed are the variables that a child gets. Others may be credentials.
var passed = []string{
	"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LANG", "LC_ALL", "TZ", "LOCALE_ARCHIVE",
	"XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "SSH_AUTH_SOCK",
	"http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy",
	"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY",
}

// environment returns the variables of env that Nix needs, and more.
func environment(env []string, more ...string) []string {
	var out []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		if slices.Contains(passed, name) || strings.HasPrefix(name, "NIX_") || strings.HasPrefix(name, "NIXPKGS_") {
			out = append(out, kv)
		}
	}
	return append(append(out, "NO_COLOR=1", "TERM=dumb", "GIT_TERMINAL_PROMPT=0"), more...)
}
