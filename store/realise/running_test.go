package realise_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/realise"
)

// file is a builder's file: its packages are not looked for below packages and legacyPackages.
func file(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "f.nix")
	write(t, name, "")
	return name
}

// packaged says that all is a package, and leaves the rest to build.
func packaged(build func(c call) answer) func(c call) answer {
	return func(c call) answer {
		if slices.Contains(c.Args, "eval") {
			return answer{Stdout: `{"name":"hello-1.0"}`}
		}
		return build(c)
	}
}

// wait is for what must come; the time limit only makes a failure short.
func wait(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s: nothing after 30 s", what)
	}
}

type result struct {
	paths []store.Path
	err   error
}

func start(ctx context.Context, b *realise.Builder, attr realise.Attr) <-chan result {
	c := make(chan result, 1)
	go func() {
		r, err := b.Build(ctx, attr, host)
		c <- result{r.Outputs, err}
	}()
	return c
}

func TestNoise(t *testing.T) {
	newHand(t, packaged(func(c call) answer {
		a := built(c)
		a.Noise, a.Stderr = 4<<20, "error: the end\n"
		if c.Args[len(c.Args)-1] == "fails" {
			a.Exit = 1
		}
		return a
	}))
	b := open(t, realise.Options{File: file(t)})
	if r, err := b.Build(t.Context(), "hello", host); len(r.Outputs) != 2 || err != nil {
		t.Errorf("%q, %v", r, err)
	}
	_, err := b.Build(t.Context(), "fails", host)
	var failed *realise.BuildError
	if !errors.As(err, &failed) || len(failed.Lines) > 10 || failed.Detail() != strings.Join(failed.Lines, "\n") || failed.Lines[len(failed.Lines)-1] != "error: the end" || len(err.Error()) > 2<<10 {
		t.Errorf("%.300v", err)
	}
}

func TestTooMuchOutput(t *testing.T) {
	newHand(t, packaged(func(c call) answer { return answer{Noise: 33 << 20, Stdout: "[]"} }))
	b := open(t, realise.Options{File: file(t)})
	if _, err := b.Build(t.Context(), "hello", host); err == nil || !strings.Contains(err.Error(), "wrote more than") {
		t.Error(err)
	}
}

// TestStubborn closes the builder under a build that ignores SIGTERM, and so does its own child.
func TestStubborn(t *testing.T) {
	calls := make(chan call, 1)
	newHand(t, packaged(func(c call) answer { calls <- c; return answer{Stubborn: true} }))
	b := open(t, realise.Options{File: file(t)})
	b.SetGrace(10 * time.Millisecond)
	done := start(t.Context(), b, "hello")
	c := <-calls
	wait(t, "a stubborn process", c.ready)
	b.Close()
	wait(t, "its end", c.dead)
	if r := <-done; !errors.Is(r.err, store.ErrUnavailable) || errors.Is(r.err, context.Canceled) {
		t.Errorf("whose builder is closed gets %v", r.err)
	}
	if _, err := b.Build(t.Context(), "hello", host); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("build after Close: %v", err)
	}
}

// TestOrphan has the child of nix outlive it.
func TestOrphan(t *testing.T) {
	calls := make(chan call, 1)
	newHand(t, packaged(func(c call) answer { calls <- c; return answer{Stubborn: true} }))
	b := open(t, realise.Options{File: file(t)})
	b.SetGrace(10 * time.Millisecond)
	done := start(t.Context(), b, "hello")
	c := <-calls
	wait(t, "a stubborn process", c.ready)
	p, err := os.FindProcess(c.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil { // nix alone
		t.Fatal(err)
	}
	var failed *realise.BuildError
	if r := <-done; !errors.As(r.err, &failed) {
		t.Errorf("%v", r.err)
	}
	wait(t, "the end of its child", c.dead)
}

// TestLeftBehind has a nix that does well leave a child behind, which holds its pipes.
func TestLeftBehind(t *testing.T) {
	calls := make(chan call, 1)
	newHand(t, packaged(func(c call) answer {
		calls <- c
		a := built(c)
		a.Leaves = true
		return a
	}))
	b := open(t, realise.Options{File: file(t)})
	b.SetGrace(100 * time.Millisecond)
	if r, err := b.Build(t.Context(), "hello", host); len(r.Outputs) != 2 || err != nil {
		t.Errorf("%q, %v", r, err)
	}
	wait(t, "the end of what was left behind", (<-calls).dead)
}

func TestTimeout(t *testing.T) {
	calls := make(chan call, 1)
	newHand(t, packaged(func(c call) answer { calls <- c; return answer{Stubborn: true} }))
	b := open(t, realise.Options{File: file(t), Timeout: time.Second})
	b.SetGrace(10 * time.Millisecond)
	_, err := b.Build(t.Context(), "hello", host)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "stopped after 1s") {
		t.Errorf("%v, want a deadline", err)
	}
	select {
	case c := <-calls:
		wait(t, "its end", c.dead)
	default: // it was stopped before it began
	}
}

// TestKilled kills a process that builds; nix ends with it.
func TestKilled(t *testing.T) {
	calls := make(chan call, 1)
	never := make(chan struct{})
	defer close(never)
	newHand(t, packaged(func(c call) answer { calls <- c; <-never; return answer{} }))
	p := exec.Command(self(t), "parent", file(t))
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	c := <-calls
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait()
	wait(t, "the end of nix", c.dead)
}

// parent is the process that TestKilled kills.
func parent(file string) int {
	exe, err := os.Executable()
	if err != nil {
		return 1
	}
	b, err := realise.New(realise.Options{File: file, Nix: exe})
	if err != nil {
		return 1
	}
	_, _ = b.Build(context.Background(), "hello", host)
	return 0
}

func TestClientLeaves(t *testing.T) {
	calls, release := make(chan call, 1), make(chan struct{})
	newHand(t, packaged(func(c call) answer { calls <- c; <-release; return built(c) }))
	lines := make(lineLog, 9)
	b := open(t, realise.Options{File: file(t), Log: slog.New(lines)})
	ctx, leave := context.WithCancel(t.Context())
	done := start(ctx, b, "hello")
	<-calls
	leave()
	if r := <-done; !errors.Is(r.err, context.Canceled) {
		t.Errorf("who left gets %v", r.err)
	}
	close(release)
	<-lines // that it begins
	if got := <-lines; !strings.HasPrefix(got, "built ") {
		t.Errorf("the build of who left: %s", got)
	}
}

// waiter is a context that tells when somebody waits for it.
type waiter struct {
	context.Context
	once  sync.Once
	waits chan struct{}
}

func (w *waiter) Done() <-chan struct{} {
	w.once.Do(func() { close(w.waits) })
	return w.Context.Done()
}

func TestLinesWhileRunning(t *testing.T) {
	release := make(chan struct{})
	newHand(t, packaged(func(c call) answer { <-release; return built(c) }))
	lines := make(lineLog)
	b := open(t, realise.Options{File: file(t), Log: slog.New(lines)})
	b.SetEvery(time.Millisecond)
	done := start(t.Context(), b, "hello")
	for !strings.HasPrefix(<-lines, "still running: build hello") {
	}
	close(release)
	for !strings.HasPrefix(<-lines, "built ") {
	}
	if r := <-done; r.err != nil {
		t.Error(r.err)
	}
}

func TestTwoAtOnce(t *testing.T) {
	calls, release := make(chan call, 9), make(chan struct{})
	newHand(t, packaged(func(c call) answer { calls <- c; <-release; return built(c) }))
	b := open(t, realise.Options{File: file(t)})
	var all []<-chan result
	for range 5 {
		w := &waiter{Context: t.Context(), waits: make(chan struct{})}
		all = append(all, start(w, b, "hello"))
		wait(t, "a caller that waits", w.waits)
	}
	close(release)
	for _, c := range all {
		if r := <-c; len(r.paths) != 2 || r.err != nil {
			t.Errorf("%q, %v", r.paths, r.err)
		}
	}
	if n := len(calls); n != 1 {
		t.Errorf("%d builds, want 1", n)
	}
}

func TestBusy(t *testing.T) {
	calls, release := make(chan call, 9), make(chan struct{})
	newHand(t, packaged(func(c call) answer { calls <- c; <-release; return built(c) }))
	b := open(t, realise.Options{File: file(t), Jobs: 1, Waiting: 1})
	first := start(t.Context(), b, "one")
	<-calls
	two, three := start(t.Context(), b, "two"), start(t.Context(), b, "three")
	var refused result
	rest := two
	select {
	case refused = <-two:
		rest = three
	case refused = <-three:
	}
	if !errors.Is(refused.err, realise.ErrBusy) || !errors.Is(refused.err, store.ErrUnavailable) {
		t.Errorf("one too many gets %v", refused.err)
	}
	if len(calls) != 0 {
		t.Error("two builds at once")
	}
	close(release)
	for _, c := range []<-chan result{first, rest} {
		if r := <-c; r.err != nil {
			t.Error(r.err)
		}
	}
}

// TestAbandonedBuildGivesWay has a build that nobody waits for hold the only slot until another is asked for. Asked for
// again, it is built in its turn.
func TestAbandonedBuildGivesWay(t *testing.T) {
	calls, never := make(chan call, 9), make(chan struct{})
	defer close(never)
	var mu sync.Mutex
	hangs := true
	newHand(t, packaged(func(c call) answer {
		calls <- c
		mu.Lock()
		wait := hangs && c.Args[len(c.Args)-1] == "left"
		mu.Unlock()
		if wait {
			<-never
		}
		return built(c)
	}))
	b := open(t, realise.Options{File: file(t), Jobs: 1})
	b.SetGrace(10 * time.Millisecond)
	ctx, leave := context.WithCancel(t.Context())
	done := start(ctx, b, "left")
	left := <-calls
	leave()
	if r := <-done; !errors.Is(r.err, context.Canceled) {
		t.Errorf("the client that left: %v", r.err)
	}
	if r, err := b.Build(t.Context(), "hello", host); len(r.Outputs) != 2 || err != nil {
		t.Errorf("another build: %q, %v", r, err)
	}
	wait(t, "the end of the build that nobody waits for", left.dead)
	mu.Lock()
	hangs = false
	mu.Unlock()
	if r, err := b.Build(t.Context(), "left", host); len(r.Outputs) != 2 || err != nil {
		t.Errorf("the same build again: %q, %v", r, err)
	}
}
