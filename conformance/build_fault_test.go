package conformance_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The last lines of a build that fails reach whoever asked, and the log. For a while nobody tries again.
func TestBuildFails(t *testing.T) {
	endToEnd(t)
	n := newNix(t, "hello")
	s := n.start(t, byFlake)
	const last = "no such header: gizmo.h"
	code, body := s.refused(t, "fails", "latest")
	if code != http.StatusNotFound || !strings.Contains(body, last) || strings.Contains(body, "line 1000 ") || len(body) > 8<<10 {
		t.Errorf("%d, %d bytes %s; want 404, which Docker shows, and the last lines of the builder alone", code, len(body), body)
	}
	out, err := exec.CommandContext(t.Context(), "docker", "pull", s.Host+"/fails").CombinedOutput()
	if err == nil || !strings.Contains(string(out), last) {
		t.Errorf("docker pull: %v: %s; want what the builder said last", err, out)
	}
	s.says(t, "the log has what the builder said last", func(log string) bool { return strings.Contains(log, last) })
	if got := n.begun(t, "fails"); got != 1 {
		t.Errorf("it was tried %d times", got)
	}
	if code, body := s.refused(t, "broken", "latest"); code != http.StatusNotFound || !strings.Contains(body, "this attribute does not evaluate") {
		t.Errorf("an attribute that throws: %d %s", code, body)
	}
	s.image(t, "greeting", "latest") // others are none the worse for it
}

// hanging is the pipe of a builder that does not end, and of what it started.
type hanging struct{ r, w *os.File }

func (n ownNix) hanging(t *testing.T) hanging {
	t.Helper()
	file := filepath.Join(n.place, "pipe")
	r, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	w, err := os.OpenFile(file, os.O_WRONLY, 0) // so that the pipe does not end before it began
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	if err := r.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return hanging{r, w}
}

// awaitBegin waits for the builder.
func (h hanging) awaitBegin(t *testing.T, s *server) {
	t.Helper()
	if line, err := bufio.NewReader(h.r).ReadString('\n'); line != "here\n" {
		t.Fatalf("the builder does not begin: %q, %v; log:\n%s", line, err, s.log)
	}
	h.w.Close()
}

// awaitEnd waits until no process has the pipe.
func (h hanging) awaitEnd(t *testing.T) {
	t.Helper()
	if rest, err := io.ReadAll(h.r); err != nil || len(rest) > 0 {
		t.Errorf("processes of the build are left: %q, %v", rest, err)
	}
}

// A build that does not end is ended, with all its processes, and whoever waits for it is told. The time is long enough
// for Nix to get so far on a busy machine.
func TestBuildHangs(t *testing.T) {
	endToEnd(t)
	n := newNix(t, "hello")
	s := n.start(t, byFile.with("--build-timeout", "6s"))
	h := n.hanging(t)
	code, body := s.refused(t, "hangs", "latest")
	h.awaitBegin(t, s)
	h.awaitEnd(t)
	if code != http.StatusNotFound || !strings.Contains(body, "stopped after 6s") {
		t.Errorf("%d %s; want 404, and the limit named", code, body)
	}
	s.says(t, "the log says so", func(log string) bool { return strings.Contains(log, "stopped after 6s") })
}

// request begins a request for a manifest and returns a channel for the answer, once the request is on its way.
func (s *server) request(t *testing.T, ctx context.Context, method, repo string) <-chan *http.Response {
	t.Helper()
	wrote, answer := make(chan struct{}), make(chan *http.Response, 1)
	first := sync.OnceFunc(func() { close(wrote) }) // it may be redirected
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { first() }})
	req, err := http.NewRequestWithContext(ctx, method, s.URL+"/v2/"+repo+"/manifests/latest", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // one that is not tried again
	go func() {
		resp, err := client.Do(req)
		if err != nil {
			resp = nil
		} else {
			resp.Body.Close()
		}
		answer <- resp
	}()
	select {
	case <-wrote:
	case <-time.After(patience):
		t.Fatal("the request does not go out")
	}
	return answer
}

// Those who ask at once share a build.
func TestBuildsOnceForAll(t *testing.T) {
	endToEnd(t)
	n := newNix(t, "hello")
	s := n.start(t, byFile)
	gate := n.open(t, "gate")
	var answers []<-chan *http.Response
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodGet, http.MethodGet} {
		answers = append(answers, s.request(t, t.Context(), method, "gated"))
	}
	eventually(t, "the build begins", func() bool { return n.begun(t, "gated-1.0") > 0 })
	if _, err := gate.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	want := ""
	for i, answer := range answers {
		resp := <-answer
		if resp == nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("request %d: %+v", i, resp)
		}
		digest := resp.Header.Get("Docker-Content-Digest")
		if want != "" && digest != want {
			t.Errorf("request %d got %s, the one before %s", i, digest, want)
		}
		want = digest
	}
	if s.builds() != 1 || n.begun(t, "gated-1.0") != 1 {
		t.Errorf("%d builds began, the builder ran %d times", s.builds(), n.begun(t, "gated-1.0"))
	}
}

// A client that leaves does not stop the build: when it comes back, the image is there.
func TestBuildOutlivesItsClient(t *testing.T) {
	endToEnd(t)
	n := newNix(t, "hello")
	s := n.start(t, byFlake)
	gate := n.open(t, "gate")
	ctx, leave := context.WithCancel(t.Context())
	answer := s.request(t, ctx, http.MethodGet, "gated")
	eventually(t, "the build begins", func() bool { return n.begun(t, "gated-1.0") > 0 })
	leave()
	if resp := <-answer; resp != nil {
		t.Errorf("the client that left got %s", resp.Status)
	}
	if _, err := gate.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	s.says(t, "the build ends", func(log string) bool { return strings.Contains(log, `"msg":"built"`) })
	s.image(t, "gated", "latest")
	if s.builds() != 1 || n.begun(t, "gated-1.0") != 1 {
		t.Errorf("%d builds began, the builder ran %d times", s.builds(), n.begun(t, "gated-1.0"))
	}
}

// signalled asks the server to end once more, and reports whether it has.
func (s *server) signalled() bool {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended just now
	select {
	case <-s.done:
		return true
	case <-time.After(100 * time.Millisecond):
		return false
	}
}

// However the server ends, no process of a build stays behind.
func TestBuildEndsWithTheServer(t *testing.T) {
	endToEnd(t)
	for how, c := range map[string]struct {
		attribute string
		end       func(t *testing.T, s *server, leave func())
	}{
		"asked, without a client": {"hangs", func(t *testing.T, s *server, leave func()) { leave(); s.stop(t) }},
		"asked twice": {"hangs", func(t *testing.T, s *server, _ func()) {
			s.terminate(t)
			eventually(t, "nobody new gets in", func() bool { return !s.reachable(t) })
			eventually(t, "it ends at a second signal", s.signalled) // one that follows at once counts for the first
		}},
		"killed": {"waits", func(_ *testing.T, s *server, _ func()) { s.kill() }}, // Nix ends its builders, not what they started
	} {
		t.Run(how, func(t *testing.T) {
			n := newNix(t, "hello")
			s := n.start(t, byFile)
			h := n.hanging(t)
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			s.request(t, ctx, http.MethodGet, c.attribute)
			h.awaitBegin(t, s)
			c.end(t, s, leave)
			h.awaitEnd(t)
		})
	}
}
