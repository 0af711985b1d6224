package fetch

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// What the system says is not what the server says.
func TestNoKindsOfTheNetwork(t *testing.T) {
	for _, kind := range []error{fs.ErrPermission, fs.ErrNotExist, os.ErrDeadlineExceeded} {
		if err := fault(fmt.Errorf("dial: %w", kind)); errors.Is(err, kind) {
			t.Errorf("%v is %v", err, kind)
		}
	}
}

// "EOF" says nothing to its reader.
func TestHangUp(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.Serve("r.lab.test:80", "9.9.9.9", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		_, err := get(t.Context(), n.open("http://r.lab.test"), "a")
		if want := "the server hangs up without an answer"; err == nil || err.Error() != want {
			t.Errorf("%v; want %q", err, want)
		}
	})
}

// Behind a proxy names are its business, and literal addresses are not.
func TestProxy(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		var to string
		h := n.Serve("proxy.lab.test:3128", "10.0.0.3", redirected(func(*http.Request) string { return to }))
		c := n.open("http://r.lab.test", byProxy)
		for _, tc := range [][2]string{
			{"http://blobs.cdn.test/data", ""}, {"http://10.0.0.1/data", "private"}, {"http://localhost/data", "loopback"},
			{"http://127.0.0.①/data", "not ASCII"}, {"http://ｌｏｃａｌｈｏｓｔ/data", "not ASCII"}, {"http://169.254.169%E3%80%82254/data", "not ASCII"},
		} {
			to = tc[0]
			_, err := get(t.Context(), c, "a")
			if (err == nil) != (tc[1] == "") || err != nil && !strings.Contains(err.Error(), tc[1]) {
				t.Errorf("%s: %v", to, err)
			}
		}
		if len(h.Requests()) != 7 {
			t.Error(h.Paths())
		}
	})
}

func byProxy(o *Options) {
	o.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse("http://me:hush@proxy.lab.test:3128") }
}

// The status of a proxy that does not connect is told, without its password.
func TestProxyRefuses(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		n.Serve("proxy.lab.test:3128", "10.0.0.3", status(407, ""))
		_, err := get(t.Context(), n.open("https://r.lab.test", byProxy), "a")
		var e *Error
		if !errors.As(err, &e) || e.Kind != ErrProxy || e.Status != 407 || err.Error() != "the proxy answers 407 Proxy Authentication Required" {
			t.Error(err)
		}
	})
}

func FuzzPrintable(f *testing.F) {
	f.Add("no\nway")
	f.Add(strings.Repeat("ä", 1000))
	f.Fuzz(func(t *testing.T, s string) {
		if got := Printable(s); len(got) > maxText+len("…") || !utf8.ValidString(got) || strings.ContainsAny(got, "\n\r\x1b") {
			t.Errorf("%q: %q", s, got)
		}
	})
}
