package conformance_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// readmeBlock is an sh block of README.md, and the lines of the text block behind it: what its commands print, in part.
type readmeBlock struct{ commands, prints []string }

// readmeBlocks are README.md's sh blocks, in order.
func readmeBlocks(t *testing.T) (blocks []readmeBlock) {
	t.Helper()
	kind := ""
	for line := range strings.Lines(string(readFile(t, "../README.md"))) {
		line = strings.TrimSuffix(line, "\n")
		fence, isFence := strings.CutPrefix(line, "```")
		last := len(blocks) - 1
		switch {
		case isFence && kind == "" && fence != "":
			kind = fence
			if kind == "sh" {
				blocks = append(blocks, readmeBlock{})
			}
		case isFence && kind == "":
			kind = "picture"
		case isFence:
			kind = ""
		case kind == "sh":
			blocks[last].commands = append(blocks[last].commands, line)
		case kind == "text":
			blocks[last].prints = append(blocks[last].prints, line)
		}
	}
	return blocks
}

// isServe reports whether a command is one that runs until it is stopped.
func isServe(command string) bool { return strings.Contains(command, "nixreg serve") }

// isTest reports whether a command would run this test again: .ci/run is what runs those.
func isTest(command string) bool {
	return strings.Contains(command, "go test") || strings.Contains(command, ".ci/run") || strings.Contains(command, "mkstore.sh")
}

func TestReadmeNamesTheFirstCommands(t *testing.T) {
	var all string
	for _, b := range readmeBlocks(t) {
		all += strings.Join(b.commands, "\n") + "\n"
	}
	for _, want := range []string{
		"go run ./cmd/nixreg serve --demo\n", "docker pull localhost:5000/hello\n", "docker run --rm localhost:5000/hello\n", "go test ./...\n",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("README.md has no command %q", want)
		}
	}
	digest := start(t, demo).manifest(t, "hello", "latest", accepts["oci"]...).Digest
	if got := readmeBlocks(t)[1].prints; !slices.Contains(got, "Digest: "+digest) {
		t.Errorf("README.md shows %q for the demo, whose digest is %s", got, digest)
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

// Every command of the README is run as it stands there, one after the other, and prints what stands behind it; a server serves
// until the next one.
func TestReadmeCommands(t *testing.T) {
	endToEnd(t)
	stop := func() {}
	next := func() {
		stop()
		docker(t, "image", "rm", "--force", "localhost:5000/hello")
	}
	for _, b := range readmeBlocks(t) {
		printed := new(strings.Builder)
		log := fmt.Stringer(printed)
		for _, command := range b.commands {
			switch {
			case isTest(command):
			case isServe(command):
				next()
				log, stop = background(t, command)
			default:
				out := output(t, nil, "bash", "-euc", "cd .. && "+offline(command))
				if strings.HasPrefix(command, "docker run") && !strings.HasPrefix(out, "Hello") {
					t.Errorf("%s: prints %q, want a greeting", command, out)
				}
				t.Logf("%s\n%s", command, out)
				printed.WriteString(out)
			}
		}
		for _, want := range b.prints {
			eventually(t, fmt.Sprintf("%q prints %q", b.commands, want), func() bool { return strings.Contains(log.String(), want) })
		}
	}
	next()
}

// background runs a server on the README's port until stop is called.
func background(t *testing.T, command string) (log *serverLog, stop func()) {
	t.Helper()
	log = newServerLog()
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
	return log, stop
}
