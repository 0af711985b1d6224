package main

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/nixreg/nixreg/internal/fakenix"
	"github.com/nixreg/nixreg/store/local"
)

// patience bounds every wait for a condition; nothing depends on how long things take below it.
const patience = time.Minute

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"nixreg": main, "nix": fakenix.Nix, "nix-store": fakenix.NixStore})
}

func TestScripts(t *testing.T) {
	p := scripts()
	p.Dir = "testdata"
	testscript.Run(t, p)
}

// runCase runs the script of an open case.
func runCase(t *testing.T, name string) {
	t.Helper()
	p := scripts()
	p.Files = []string{filepath.Join("testdata", "cases", name)}
	testscript.Run(t, p)
}

// scripts are the commands and surroundings of all scripts.
func scripts() testscript.Params {
	return testscript.Params{
		Setup: func(e *testscript.Env) error {
			e.Values[serversKey{}] = servers{}
			e.Values[filesKey{}] = make(map[string]*httptest.Server)
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("XDG_CACHE_HOME", "")
			e.Setenv("HTTPS_PROXY", "http://127.0.0.1:9") // nobody asks the world: the discard port refuses
			e.Setenv("TINY", testFile("../../store/binarycache/testdata/tiny-cache"))
			e.Setenv("CHANNEL", testFile("testdata/channel"))
			key, err := os.ReadFile("../../store/binarycache/testdata/cache.pub")
			e.Setenv("TINYKEY", string(key))
			return err
		},
		Condition: func(cond string) (bool, error) {
			if cond == "nix" {
				return local.Exists(), nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve":  startServer,
			"signal": signalServer,
			"ended":  awaitEnd,
			"logged": awaitLog,
			"get":    get,
			"head":   head,

			"files":    serveFiles,
			"envsubst": envsubst,
		},
	}
}

type serversKey struct{}

// servers are the running servers of a script, by name.
type servers map[string]*exec.Cmd

func serversOf(ts *testscript.TestScript) servers { return ts.Value(serversKey{}).(servers) }

// serverEnv are the variables of a script that its servers have too.
var serverEnv = []string{
	"PATH", "HOME", "TMPDIR", "HTTPS_PROXY", "NIX_CONF_DIR", "NIX_CONFIG",
	"NIXREG_CONFIG", "NIXREG_DATA", "NIXREG_DEMO", "NIXREG_LISTEN", "NIXREG_STORE", "NIXREG_CHANNEL",
}

// testFile is the absolute name of a file beside this one.
func testFile(name string) string {
	abs, err := filepath.Abs(name)
	if err != nil {
		panic(err)
	}
	return abs
}

var servingOn = regexp.MustCompile(`serving .* on (http://\S+?)["\s]`)

// startServer is "serve NAME ARG...": nixreg serve, in the background. Its log goes to NAME.log, and once it says
// where it serves, that is in $NAME, and its host and port in $port.
func startServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: serve NAME ARG...")
	}
	name, logName := args[0], ts.MkAbs(args[0]+".log")
	log, err := os.Create(logName)
	ts.Check(err)
	defer log.Close()
	path, err := exec.LookPath(filepath.Join(strings.Split(ts.Getenv("PATH"), string(os.PathListSeparator))[0], "nixreg"))
	ts.Check(err)
	cmd := exec.Command(path, append([]string{"serve"}, args[1:]...)...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Stdout, cmd.Stderr = log, log
	for _, k := range serverEnv {
		if v := ts.Getenv(k); v != "" {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
	}
	ts.Check(cmd.Start())
	serversOf(ts)[name] = cmd
	ts.Defer(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	var url string
	waitFor(ts, "address of "+name, func() bool {
		m := servingOn.FindStringSubmatch(ts.ReadFile(logName))
		if m != nil {
			url = m[1]
		}
		return m != nil
	})
	ts.Setenv(name, url)
	ts.Setenv("port", strings.TrimPrefix(url, "http://"))
}

func waitFor(ts *testscript.TestScript, what string, ok func() bool) {
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("no %s", what)
		}
	}
}

// signalServer is "signal NAME TERM|INT|HUP|KILL".
func signalServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: signal NAME TERM|INT|HUP|KILL")
	}
	sig := map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL}[args[1]]
	ts.Check(serversOf(ts)[args[0]].Process.Signal(sig))
}

// awaitEnd is "ended NAME": it waits for the server's end, which must be a clean one, or with "!" must not.
func awaitEnd(ts *testscript.TestScript, neg bool, args []string) {
	err := serversOf(ts)[args[0]].Wait()
	if neg != (err != nil) {
		ts.Fatalf("%s ended: %v", args[0], err)
	}
}

// awaitLog is "logged NAME COUNT TEXT": it waits until the server's log has the text as often.
func awaitLog(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: logged NAME COUNT TEXT")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	waitFor(ts, args[2]+" in the log of "+args[0], func() bool { return strings.Count(ts.ReadFile(args[0]+".log"), args[2]) >= n })
}

// get is "get URL [HEADER]": status, headers in order, an empty line and the body go to stdout.
func get(ts *testscript.TestScript, neg bool, args []string) {
	req, err := http.NewRequest(http.MethodGet, args[0], nil)
	ts.Check(err)
	if len(args) > 1 {
		k, v, _ := strings.Cut(args[1], ": ")
		req.Header.Set(k, v)
		if k == "Host" {
			req.Host = v
		}
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Do(req)
	if neg {
		if err == nil {
			resp.Body.Close()
			ts.Fatalf("answer %s", resp.Status)
		}
		return
	}
	ts.Check(err)
	defer resp.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(resp.Body)
	ts.Check(err)
	fmt.Fprintln(ts.Stdout(), resp.StatusCode)
	resp.Header.Del("Date")
	for _, k := range slices.Sorted(maps.Keys(resp.Header)) {
		fmt.Fprintf(ts.Stdout(), "%s: %s\n", k, resp.Header.Get(k))
	}
	fmt.Fprintf(ts.Stdout(), "\n%s", body.String())
}

// head is "head URL": the status goes to stdout.
func head(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: head URL")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Head(args[0])
	ts.Check(err)
	resp.Body.Close()
	fmt.Fprintln(ts.Stdout(), resp.StatusCode)
}

// envsubst is "envsubst FILE": the script's variables take the place of their names in a file.
func envsubst(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: envsubst FILE")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(os.Expand(ts.ReadFile(args[0]), ts.Getenv)), 0o600))
}

// serveFiles is "files NAME DIR": a web server of a directory, whose address is in $NAME. "! files NAME" ends it. Its log,
// a path for each request, is in the file NAME.log.
func serveFiles(ts *testscript.TestScript, neg bool, args []string) {
	running := ts.Value(filesKey{}).(map[string]*httptest.Server)
	if neg {
		running[args[0]].Close()
		return
	}
	log, err := os.Create(ts.MkAbs(args[0] + ".log"))
	ts.Check(err)
	files := http.FileServer(http.Dir(ts.MkAbs(args[1])))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(log, r.URL.Path)
		files.ServeHTTP(w, r)
	}))
	ts.Defer(func() { s.Close(); log.Close() })
	running[args[0]] = s
	ts.Setenv(args[0], s.URL)
}

// filesKey is the key of a script's web servers, by name.
type filesKey struct{}
