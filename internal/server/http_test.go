package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stalled is a server with one request that has sent half of its answer and waits for release, or for its end.
type stalled struct {
	url     string
	signals chan os.Signal
	release chan struct{}
	ended   chan error  // what run returned
	body    chan string // what the client got; "cut" at its end if it was cut off
}

// newStalled starts it; a signal within twice of the first one is the same.
func newStalled(t *testing.T, twice time.Duration) *stalled {
	s := &stalled{
		signals: make(chan os.Signal, 2), release: make(chan struct{}),
		ended: make(chan error, 1), body: make(chan string, 1),
	}
	ls, err := listen(t.Context(), "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "8")
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		select {
		case <-s.release:
			io.WriteString(w, "full")
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	})
	s.url = "http://" + ls.hostPort("localhost:0")
	srv := newHTTPServer(context.Background(), slog.New(slog.DiscardHandler))
	srv.twice = twice
	go func() { s.ended <- srv.run(fronts{{listeners: ls, handler: handler}}, s.signals) }()
	resp, err := http.Get(s.url)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			b = append(b, "cut"...)
		}
		s.body <- string(b)
	}()
	return s
}

// refused waits until the server takes no new connections.
func (s *stalled) refused(t *testing.T) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		resp, err := client.Get(s.url)
		if err != nil {
			if !strings.Contains(err.Error(), "refused") && !strings.Contains(err.Error(), "reset") && !strings.Contains(err.Error(), "EOF") {
				t.Error(err)
			}
			return
		}
		resp.Body.Close()
	}
}

func TestSignalLetsPullsEnd(t *testing.T) {
	s := newStalled(t, 0)
	s.signals <- syscall.SIGTERM
	s.refused(t)
	select {
	case err := <-s.ended:
		t.Fatalf("ended while a pull was running: %v", err)
	default:
	}
	close(s.release)
	if err := <-s.ended; err != nil {
		t.Error(err)
	}
	if got := <-s.body; got != "halffull" {
		t.Errorf("the pull got %q", got)
	}
}

// TestSignalSentTwice: timeout(1) signals the process and its group, and means it once.
func TestSignalSentTwice(t *testing.T) {
	s := newStalled(t, time.Hour)
	s.signals <- syscall.SIGTERM
	s.signals <- syscall.SIGTERM
	s.refused(t)
	close(s.release)
	if got := <-s.body; got != "halffull" {
		t.Errorf("the pull that ran got %q", got)
	}
	if err := <-s.ended; err != nil {
		t.Error(err)
	}
}

func TestSecondSignalCutsPulls(t *testing.T) {
	s := newStalled(t, 0)
	s.signals <- syscall.SIGTERM
	s.refused(t)
	s.signals <- syscall.SIGTERM
	if err := <-s.ended; err != nil {
		t.Error(err)
	}
	if got := <-s.body; got != "halfcut" {
		t.Errorf("the pull got %q", got)
	}
}

func TestListenLocalhost(t *testing.T) {
	ls, err := listen(t.Context(), "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ls.close()
	if !ls.loopback() {
		t.Error("not on loopback")
	}
	for _, l := range ls {
		if portOf(l) != portOf(ls[0]) {
			t.Errorf("%s and %s: two ports", l.Addr(), ls[0].Addr())
		}
	}
	if _, err := listen(t.Context(), "localhost:"+portOf(ls[0])); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("second listen: %v", err)
	}
}

// The unit of the documentation gives pulls the time that the program gives them, and some for what comes after.
func TestUnitOfTheDocsWaitsForPulls(t *testing.T) {
	text, err := os.ReadFile("../../docs/running.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	m := regexp.MustCompile(`(?m)^TimeoutStopSec=([0-9]+)min$`).FindStringSubmatch(page)
	if m == nil {
		t.Fatal("running.md has no TimeoutStopSec")
	}
	if minutes, err := strconv.Atoi(m[1]); err != nil || time.Duration(minutes)*time.Minute < stopTimeout+time.Minute {
		t.Errorf("TimeoutStopSec=%smin is too short for %v", m[1], stopTimeout)
	}
	if stopTimeout != 9*time.Minute || !strings.Contains(page, "within nine minutes") || readTimeout != 20*time.Second || !strings.Contains(page, "has 20 seconds to arrive") {
		t.Error("running.md tells of other times than the program has")
	}
}
