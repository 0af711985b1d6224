package realise_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nixreg/nixreg/store/realise"
)

// handAddr is the variable by which a puppet finds its test: nix's own variables reach a child.
const handAddr = "NIX_REALISE_TEST"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "parent" {
		os.Exit(parent(os.Args[2]))
	}
	if len(os.Args) == 4 && os.Args[1] == "holder" {
		os.Exit(holder(os.Args[2], os.Args[3]))
	}
	if len(os.Args) == 2 && os.Args[1] == "grandchild" {
		os.Exit(grandchild())
	}
	if addr := os.Getenv(handAddr); addr != "" {
		syscall.Exit(puppet(addr)) // the race detector would have os.Exit wait a second
	}
	os.Exit(m.Run())
}

// call is what a puppet was started with.
type call struct {
	Args, Env []string
	Pid       int
	Group     int
	ready     <-chan struct{} // closed once a stubborn process is deaf, and its child is
	dead      <-chan struct{} // closed once the process, and its child, are no more
}

// answer is what a puppet does then.
type answer struct {
	Stdout, Stderr string
	Noise          int // bytes of blanks on stdout, and lines on stderr, before that
	Exit           int
	Links          map[string]string // made before all else
	Stubborn       bool              // ignores SIGTERM, has a child that does, and stays
	Leaves         bool              // has such a child, and does not stay
}

// puppet stands in for nix: it does what the test at addr tells it.
func puppet(addr string) int {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 99
	}
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, handAddr) })
	var a answer
	if json.NewEncoder(conn).Encode(call{Args: os.Args[1:], Env: env, Pid: os.Getpid(), Group: syscall.Getpgrp()}) != nil ||
		json.NewDecoder(conn).Decode(&a) != nil {
		return 98
	}
	for name, target := range a.Links {
		_ = os.Remove(name) // as nix-store does
		if err := os.Symlink(target, name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 97
		}
	}
	if a.Stubborn || a.Leaves {
		spawn(conn)
	}
	for a.Stubborn {
		time.Sleep(time.Hour)
	}
	for n := 0; n < a.Noise; n += 1 << 10 {
		fmt.Print(strings.Repeat(" ", 1<<10))
		fmt.Fprintln(os.Stderr, strings.Repeat("noise", 1<<10/5))
	}
	fmt.Print(a.Stdout)
	fmt.Fprint(os.Stderr, a.Stderr)
	return a.Exit
}

// spawn makes a child that ends only by SIGKILL, and is such a process from then on itself.
func spawn(conn net.Conn) {
	signal.Ignore(syscall.SIGTERM)
	f, err := conn.(*net.TCPConn).File()
	if err != nil {
		os.Exit(96)
	}
	c := exec.Command(os.Args[0], "grandchild")
	c.Stdout, c.Stderr, c.ExtraFiles = os.Stdout, os.Stderr, []*os.File{f}
	if err := c.Start(); err != nil {
		os.Exit(96)
	}
}

// grandchild says over the connection of its parent that it is there, and deaf.
func grandchild() int {
	signal.Ignore(syscall.SIGTERM)
	_, _ = os.NewFile(3, "hand").Write([]byte("!"))
	for {
		time.Sleep(time.Hour)
	}
}

// hand answers the calls of the puppets.
type hand struct {
	blind atomic.Bool // nix-store does not see our links

	mu    sync.Mutex
	calls []call
}

// newHand makes every program that b starts a puppet, which does what do says.
func newHand(t *testing.T, do func(c call) answer) *hand {
	t.Helper()
	h := new(hand)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	t.Setenv(handAddr, l.Addr().String())
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go h.serve(conn, do)
		}
	}()
	return h
}

func (h *hand) serve(conn net.Conn, do func(c call) answer) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	line, err := r.ReadBytes('\n')
	var c call
	if err != nil || json.Unmarshal(line, &c) != nil {
		return
	}
	ready, dead := make(chan struct{}), make(chan struct{})
	c.ready, c.dead = ready, dead
	go func() {
		defer close(dead)
		if _, err := r.ReadByte(); err == nil {
			close(ready)
			_, _ = r.ReadByte() // the kernel closes what a process had
		}
	}()
	_ = json.NewEncoder(conn).Encode(h.answer(c, do))
	<-dead
}

// answer does what do says. To who asks for roots it tells the links of the last call, or none if it is blind.
func (h *hand) answer(c call, do func(c call) answer) answer {
	if !slices.Contains(c.Args, "--roots") {
		h.mu.Lock()
		h.calls = append(h.calls, c)
		h.mu.Unlock()
		return do(c)
	}
	if made := h.of("--add-root"); len(made) > 0 && !h.blind.Load() {
		return answer{Stdout: made[len(made)-1].Args[2] + " -> " + c.Args[2] + "\n"}
	}
	return answer{}
}

// of returns the calls so far of one of nix's commands: "build", "eval".
func (h *hand) of(verb string) []call {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []call
	for _, c := range h.calls {
		if slices.Contains(c.Args, verb) {
			out = append(out, c)
		}
	}
	return out
}

func self(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

const (
	helloPath = "00000000000000000000000000000000-hello-1.0"
	devPath   = "11111111111111111111111111111111-hello-1.0-dev"
)

// tree is what the flake of the puppets holds.
var tree = map[string][]string{
	"packages.x86_64-linux":                       {"hello", "Hello", "fails", "other", "weird.name", "libc++", "both"},
	"packages.aarch64-linux":                      {"foreign"},
	"legacyPackages.x86_64-linux":                 {"python3Packages", "Zlib", "zLib", "both", "_1password"},
	"legacyPackages.x86_64-linux.both":            {"deep"},
	"legacyPackages.x86_64-linux.python3Packages": {"requests", "Requests-oauthlib"},
}

// nix answers as nix would for tree, and leaves builds to build.
func nix(build func(c call) answer) func(c call) answer {
	return func(c call) answer {
		if slices.Contains(c.Args, "build") {
			return build(c)
		}
		if strings.HasPrefix(c.Args[len(c.Args)-1], "d:") { // a description
			return answer{Stdout: `{"name":"hello-1.0"}`}
		}
		_, full, _ := strings.Cut(c.Args[5], "#")
		names, ok := tree[full]
		if !ok {
			return answer{Exit: 1, Stderr: "error: flake 'flake:x' does not provide attribute 'a', 'b' or '" + full + "'\n"}
		}
		out, _ := json.Marshal(names)
		return answer{Stdout: string(out)}
	}
}

func built(call) answer {
	return answer{Stdout: `[{"drvPath":"/nix/store/x.drv","outputs":{"dev":"/nix/store/` + devPath + `","out":"/nix/store/` + helloPath + `"}}]`}
}

func open(t *testing.T, o realise.Options) *realise.Builder {
	t.Helper()
	o.Nix = self(t)
	if o.Installable == "" && o.File == "" {
		o.Installable = "x"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	b, err := realise.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}
