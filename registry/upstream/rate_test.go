package upstream

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A dripper serves a blob a piece at a time, from where a range begins.
type dripper struct {
	data  string
	piece int
	pause time.Duration
	stop  int  // bytes after which the connection is cut; 0 is never
	once  bool // only the first answer is slow, and is not cut
	asked int
}

func (d *dripper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.asked++
	data, code := d.data, http.StatusOK
	var off int
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &off); err == nil {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", off, len(data)-1, len(data)))
		data, code = data[off:], http.StatusPartialContent
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	w.WriteHeader(code)
	if d.once && d.asked > 1 {
		if d.stop > 0 && d.stop < len(data) {
			io.WriteString(w, data[:d.stop])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, data)
		return
	}
	for sent := 0; sent < len(data); sent += d.piece {
		if d.stop > 0 && sent >= d.stop && !d.once {
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, data[sent:min(sent+d.piece, len(data))])
		w.(http.Flusher).Flush()
		select {
		case <-time.After(d.pause):
		case <-r.Context().Done():
			return
		}
	}
}

func TestRate(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 128<<10) // 2 MiB
	for _, tc := range []struct {
		name  string
		d     dripper
		text  string // of the error; "" is none
		asked int
		took  time.Duration // at least, and little more
	}{
		{"a byte now and then", dripper{data: large, piece: 1, pause: 7 * time.Second}, "cut after 108 of", 6, 6 * slowTimeout},
		{"only at first", dripper{data: large, piece: 1, pause: 7 * time.Second, once: true}, "", 2, slowTimeout},
		{"only at first, then cut", dripper{data: large, piece: 1, pause: 7 * time.Second, once: true, stop: 256 << 10}, "", 9, slowTimeout},
		{"nearly enough", dripper{data: large, piece: 5000, pause: 1900 * time.Millisecond}, "no byte for 1m0s, or less than 512 KiB in 2m0s", 6, 6 * slowTimeout},
		{"enough", dripper{data: large, piece: 20_000, pause: 4 * time.Second}, "", 1, 416 * time.Second},
		{"cut before it is too slow", dripper{data: large, piece: progress, pause: 59 * time.Second, stop: progress}, "6 times", 6, 6 * 59 * time.Second},
	} {
		for _, url := range []string{"http://r.lab.test", "https://r.lab.test"} {
			t.Run(tc.name+" "+url, func(t *testing.T) {
				inNetwork(t, func(t *testing.T, n *network) {
					start := time.Now()
					d := tc.d
					got, _, err := blob(t, n, url, &d)
					if took := time.Since(start); d.asked != tc.asked || took < tc.took || took > tc.took+time.Minute {
						t.Errorf("asked %d times in %v; want %d in %v", d.asked, took, tc.asked, tc.took)
					}
					var e *Error
					if tc.text == "" && (err != nil || got != large) || tc.text != "" && (!errors.As(err, &e) || !strings.Contains(err.Error(), tc.text)) {
						t.Errorf("%d bytes, %v; want %q", len(got), err, tc.text)
					}
				})
			})
		}
	}
}

// Documents and the texts of errors have to come, too.
func TestRateOfDocuments(t *testing.T) {
	for _, status := range []int{200, 404} {
		inNetwork(t, func(t *testing.T, n *network) {
			d := &dripper{data: strings.Repeat(" ", 100_000), piece: 1, pause: 7 * time.Second}
			n.serve("r.lab.test:443", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) {
				if status == 404 {
					w.WriteHeader(status)
				}
				d.ServeHTTP(w, r)
			})
			start := time.Now()
			_, err := n.open(Options{Name: "r.lab.test"}).Manifest(t.Context(), "a", "b")
			var e *Error
			if took := time.Since(start); !errors.As(err, &e) || took > maxTries*slowTimeout+time.Minute {
				t.Errorf("%d: %v after %v", status, err, took)
			}
		})
	}
}
