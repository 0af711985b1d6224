package binarycache

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// lines is a log that is read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) want(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	got := strings.Split(strings.TrimSpace(l.b.String()), "\n")
	l.b.Reset()
	if len(want) == 0 {
		want = []string{""}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("log:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A long fetch is told of every five seconds, a short one is not.
func TestSpoolProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		noTime := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}
		s := openSpool(t, SpoolOptions{Log: slog.New(slog.NewTextHandler(&log, noTime))})
		use(t, s, makeNAR("short", 10))
		time.Sleep(2 * reportEvery)
		log.want(t)

		a, b := makeNAR("a", 4e6), makeNAR("b", 2e6)
		_, passA := a.gated()
		_, passB := b.gated()
		var wg sync.WaitGroup
		wg.Go(func() { use(t, s, a) })
		wg.Go(func() { use(t, s, b) })
		time.Sleep(reportEvery - 1)
		log.want(t)
		time.Sleep(time.Nanosecond)
		log.want(t, "level=INFO msg=fetching done=0 under_way=2 waiting=0 mb=3")
		close(passB)
		time.Sleep(reportEvery)
		log.want(t, "level=INFO msg=fetching done=1 under_way=1 waiting=0 mb=4")
		close(passA)
		wg.Wait()
		time.Sleep(10 * reportEvery)
		log.want(t, "level=INFO msg=fetched done=2 under_way=0 waiting=0 mb=6")
		closeSpool(t, s)
	})
}
