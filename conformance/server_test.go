package conformance_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for a condition. No test depends on how long anything takes below it.
const patience = 2 * time.Minute

// options is how a test wants its server.
type options struct {
	Args []string // after "serve --listen … --data …"
	Env  []string
	Data string // "" is a fresh directory
	UID  uint32 // 0 is the user of the test
}

// server is one running nixreg.
type server struct {
	URL  string // http://127.0.0.1:port
	Host string // localhost:port, as image names have it
	Data string

	cmd  *exec.Cmd
	log  *serverLog
	done chan struct{} // closed when the process has ended
	err  error         // how it ended; to be read after done
}

// start runs nixreg serve on a free port of the loopback interface.
func start(t *testing.T, o options) *server {
	t.Helper()
	if o.Data == "" {
		o.Data = filepath.Join(t.TempDir(), "data")
	}
	s := &server{Data: o.Data, log: newServerLog(), done: make(chan struct{})}
	args := []string{"serve", "--listen", "127.0.0.1:0", "--data", o.Data, "--log-format", "json"}
	s.cmd = exec.Command(binary, append(args, o.Args...)...)
	s.cmd.Env = append(os.Environ(), o.Env...)
	if o.UID != 0 {
		s.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: o.UID, Gid: o.UID}}
	}
	s.run(t)
	return s
}

// run starts a server whose command is made, and waits until it says on which port it serves. It is killed at the end of
// the test, if it runs until then.
func (s *server) run(t *testing.T) {
	t.Helper()
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.done)
	}()
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("log of %v:\n%s", s.cmd.Args, s.log)
		}
	})
	s.awaitAddress(t)
}

func (s *server) awaitAddress(t *testing.T) {
	t.Helper()
	select {
	case port := <-s.log.port:
		s.URL, s.Host = "http://127.0.0.1:"+port, "localhost:"+port
	case <-s.done:
		t.Fatalf("nixreg ended before it served: %v", s.err)
	case <-time.After(patience):
		t.Fatal("nixreg does not say where it serves")
	}
}

// kill ends the server as a power cut would.
func (s *server) kill() {
	_ = s.cmd.Process.Kill() // it may have ended by itself
	<-s.done
}

// terminate asks the server to end as a service manager does, and returns at once.
func (s *server) terminate(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// awaitExit waits for the end of a server that was asked to end; anything but success fails the test.
func (s *server) awaitExit(t *testing.T) {
	t.Helper()
	select {
	case <-s.done:
		if s.err != nil {
			t.Errorf("after SIGTERM: %v, want a clean end", s.err)
		}
	case <-time.After(patience):
		t.Error("still running after SIGTERM")
	}
}

// stop ends the server and waits for it.
func (s *server) stop(t *testing.T) {
	t.Helper()
	s.terminate(t)
	s.awaitExit(t)
}

// serverLog keeps what a server prints and finds the port it serves on.
type serverLog struct {
	port    chan string
	pattern *regexp.Regexp // its first group is the port

	mu   sync.Mutex
	text bytes.Buffer
	sent bool
}

var servingOn = regexp.MustCompile(` on http://(?:localhost|127\.0\.0\.1):([0-9]+)[^0-9]`)

func newServerLog() *serverLog { return newPortLog(servingOn) }

// newPortLog is a log of a server that says in its own way where it serves.
func newPortLog(pattern *regexp.Regexp) *serverLog {
	return &serverLog{port: make(chan string, 1), pattern: pattern}
}

func (l *serverLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b)
	if m := l.pattern.FindSubmatch(l.text.Bytes()); m != nil && !l.sent {
		l.sent = true
		l.port <- string(m[1])
	}
	return len(b), nil
}

func (l *serverLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// eventually asks again until ok says yes; what is what the test waits for.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// exists reports whether there is something at path.
func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Lstat(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}
