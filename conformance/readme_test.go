package conformance_test

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// readmeCommands are the lines of README.md's sh blocks, in order.
func readmeCommands(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	in := false
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		line := sc.Text()
		switch {
		case strings.HasPrefix(line, "```"):
			in = line == "```sh"
		case in && strings.TrimSpace(line) != "":
			commands = append(commands, line)
		}
	}
	return commands
}

// isServe reports whether a command is one that runs until it is stopped.
func isServe(command string) bool { return strings.Contains(command, "nixreg serve") }

// isTest reports whether a command would run this test again: .ci/run is what runs those.
func isTest(command string) bool {
	return strings.Contains(command, "go test") || strings.Contains(command, ".ci/run") || strings.Contains(command, "mkstore.sh")
}

func TestReadmeNamesTheFirstCommands(t *testing.T) {
	all := strings.Join(readmeCommands(t), "\n") + "\n"
	for _, want := range []string{
		"go run ./cmd/nixreg serve --demo\n", "docker pull localhost:5000/hello\n", "docker run --rm localhost:5000/hello\n", "go test ./...\n",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("README.md has no command %q", want)
		}
	}
}

// offline lets a container run on an engine that has no network to give: one without its default bridge refuses. The
// README's programs need none. Elsewhere the command stays as it is.
func offline(command string) string {
	if _, err := net.InterfaceByName("docker0"); err == nil || strings.Contains(command, "--network") {
		return command
	}
	return strings.Replace(command, "docker run ", "docker run --network none ", 1)
}

// Every command of the README is run as it stands there, one after the other; a server serves until the next one.
func TestReadmeCommands(t *testing.T) {
	endToEnd(t)
	stop := func() {}
	next := func() {
		stop()
		docker(t, "image", "rm", "--force", "localhost:5000/hello")
	}
	for _, command := range readmeCommands(t) {
		switch {
		case isTest(command):
		case isServe(command):
			next()
			stop = background(t, command)
		default:
			out := output(t, nil, "bash", "-euc", "cd .. && "+offline(command))
			if strings.HasPrefix(command, "docker run") && !strings.HasPrefix(out, "Hello") {
				t.Errorf("%s: prints %q, want a greeting", command, out)
			}
			t.Logf("%s\n%s", command, out)
		}
	}
	next()
}

// background runs a server on the README's port until stop is called.
func background(t *testing.T, command string) (stop func()) {
	t.Helper()
	log := newServerLog()
	cmd := exec.Command("bash", "-euc", "cd .. && "+command)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "NIXREG_DATA="+t.TempDir()) // not that of the user who runs the test
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var ended error
	done := make(chan struct{})
	go func() {
		ended = cmd.Wait()
		close(done)
	}()
	stop = func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // the group: go run does not pass a signal on
		<-done
	}
	t.Cleanup(stop)
	eventually(t, command+" serves", func() bool {
		select {
		case <-done:
			t.Fatalf("%s: %v\n%s", command, ended, log)
		default:
		}
		resp, err := http.Get("http://localhost:5000/healthz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return true
	})
	return stop
}
