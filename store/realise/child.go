package realise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/nixreg/nixreg/store"
)

const (
	grace     = 5 * time.Second // between the friendly signal and the other
	maxOutput = 32 << 20
)

// command is a program that is run as a child, in a process group of its own.
type command struct {
	name  string
	env   []string
	grace time.Duration
}

// run runs the program with args until it ends or ctx does: then its group gets SIGTERM and, after the grace, SIGKILL.
// Both its outputs are read all the time; stdout is returned, of stderr the end is left in t. Nothing of the group is
// alive when run returns, short of what left it for a group of its own.
func (c command) run(ctx context.Context, t *tail, args ...string) ([]byte, error) {
	// The kernel ends the child when the thread that made it ends: keep that one for as long as the child lives.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, c.name, args...)
	cmd.Env = c.env
	cmd.SysProcAttr = processGroup()
	out := &capped{max: maxOutput}
	cmd.Stdout, cmd.Stderr = out, t
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = c.grace // then the child is killed, and nobody waits for a grandchild that holds our pipes
	if err := cmd.Start(); err != nil {
		return nil, notStarted(c.name, err)
	}
	err := cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // the child itself did well
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what of the group outlived the child
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

// notStarted is no word of what was asked for: not even that the program is not there must look like an absent attribute.
func notStarted(name string, err error) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("start %s: %w: %w", name, exec.ErrNotFound, store.ErrUnavailable)
	}
	return fmt.Errorf("start %s: %v: %w", name, err, store.ErrUnavailable)
}

// ended reports whether err is that of a program that ran and said no.
func ended(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit)
}

// capped keeps the first max bytes and swallows the rest.
type capped struct {
	buf  []byte
	max  int
	over bool
}

func (c *capped) Write(p []byte) (int, error) {
	if room := c.max - len(c.buf); len(p) > room {
		c.over = true
		c.buf = append(c.buf, p[:room]...)
	} else {
		c.buf = append(c.buf, p...)
	}
	return len(p), nil
}

// passed are the variables a child gets. All else, credentials above all, stays here.
var passed = []string{
	"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LANG", "LC_ALL", "TZ", "LOCALE_ARCHIVE",
	"XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "SSH_AUTH_SOCK",
	"http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy",
	"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY",
}

// environment picks from env what Nix needs, and adds more.
func environment(env []string, more ...string) []string {
	allowed := make(map[string]bool)
	for _, name := range passed {
		allowed[name] = true
	}
	var out []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		if allowed[name] || strings.HasPrefix(name, "NIX_") || strings.HasPrefix(name, "NIXPKGS_") {
			out = append(out, kv)
		}
	}
	return append(append(out, "NO_COLOR=1", "TERM=dumb", "GIT_TERMINAL_PROMPT=0"), more...)
}
