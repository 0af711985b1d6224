package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// contestant is a registry that runs.
type contestant struct {
	name    string
	host    string            // 127.0.0.1:port
	digests map[string]string // of each image's latest
	cmd     *exec.Cmd
}

// startAll starts all contestants and lets each make the images ready. stop ends them; it is never nil.
func startAll(ctx context.Context, s settings, names []string) (all []*contestant, stop func(), err error) {
	dir, err := os.MkdirTemp("", "nixreg-bench")
	stop = func() {
		for _, c := range all {
			_ = c.cmd.Process.Signal(syscall.SIGTERM)
			_ = c.cmd.Wait()
		}
		_ = os.RemoveAll(dir)
	}
	if err != nil {
		return nil, stop, err
	}
	own := filepath.Join(dir, "nixreg")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", own, "github.com/nixreg/nixreg/cmd/nixreg").CombinedOutput(); err != nil {
		return nil, stop, fmt.Errorf("go build: %w\n%s", err, out)
	}
	for _, b := range append([]string{"nixreg=" + own}, s.binaries...) {
		name, file, err := cut(b)
		if err != nil {
			return all, stop, err
		}
		c, err := startNixreg(ctx, s, name, file, filepath.Join(dir, name+".data"))
		if err != nil {
			return all, stop, err
		}
		all = append(all, c)
		if err := c.findDigests(ctx, names); err != nil {
			return all, stop, err
		}
	}
	if s.crane == "" {
		return all, stop, nil
	}
	c, err := startCrane(ctx, s, names, all[0].host)
	if err != nil {
		return all, stop, err
	}
	all = append(all, c)
	return all, stop, c.findDigests(ctx, names)
}

func startNixreg(ctx context.Context, s settings, name, file, data string) (*contestant, error) {
	args := []string{"serve", "--listen", "127.0.0.1:0", "--data", data, "--store", "local"}
	for _, i := range s.images {
		args = append(args, "--images", i)
	}
	c := &contestant{name: name, cmd: exec.CommandContext(ctx, file, args...)}
	return c, c.start(c.cmd.StderrPipe, ` on http://127\.0\.0\.1:(\d+)`)
}

// startCrane starts crane's registry and copies the images of another one to it.
func startCrane(ctx context.Context, s settings, names []string, from string) (*contestant, error) {
	c := &contestant{name: "crane", cmd: exec.CommandContext(ctx, s.crane, "registry", "serve", "--address", "127.0.0.1:0")}
	if err := c.start(c.cmd.StderrPipe, `(?:port|127\.0\.0\.1:) ?(\d+)`); err != nil {
		return nil, err
	}
	for _, n := range names {
		if out, err := exec.CommandContext(ctx, s.crane, "copy", from+"/"+n, c.host+"/"+n).CombinedOutput(); err != nil {
			return c, fmt.Errorf("crane copy %s: %w\n%s", n, err, out)
		}
	}
	return c, nil
}

// start starts the command and finds in its output on which port it serves.
func (c *contestant) start(pipe func() (io.ReadCloser, error), port string) error {
	out, err := pipe()
	if err != nil {
		return err
	}
	if err := c.cmd.Start(); err != nil {
		return err
	}
	pattern := regexp.MustCompile(port)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := pattern.FindSubmatch(lines.Bytes()); m != nil {
			c.host = "127.0.0.1:" + string(m[1])
			go io.Copy(io.Discard, out)
			return nil
		}
	}
	_ = c.cmd.Wait()
	return fmt.Errorf("%s does not say where it serves", c.name)
}

// cpu is the processor time that the registry has taken so far, 0 where the kernel does not tell as Linux does.
//
// Source: proc_pid_stat(5): utime and stime are the fields 14 and 15, in ticks of 10 ms.
func (c *contestant) cpu() time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	var user, system int64
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	fmt.Sscan(fields[11], &user)
	fmt.Sscan(fields[12], &system)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// findDigests asks for each image once, which makes it.
func (c *contestant) findDigests(ctx context.Context, names []string) error {
	c.digests = make(map[string]string)
	for _, n := range names {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.host+"/v2/"+n+"/manifests/latest", nil)
		if err != nil {
			return err
		}
		req.Header.Set("Accept", manifestType)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s: %s", c.name, n, res.Status)
		}
		c.digests[n] = res.Header.Get("Docker-Content-Digest")
	}
	return nil
}
