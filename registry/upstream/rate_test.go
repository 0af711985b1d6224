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

// Documents and the texts of errors have to come, too.
func TestRateOfDocuments(t *testing.T) {
	for _, status := range []int{200, 404} {
		inNetwork(t, func(t *testing.T, n *network) {
			d := &dripper{data: strings.Repeat(" ", 100_000), piece: 1, pause: 7 * time.Second}
			n.Serve("r.lab.test:443", "9.9.9.9", func(w http.ResponseWriter, r *http.Request) {
				if status == 404 {
					w.WriteHeader(status)
				}
				d.ServeHTTP(w, r)
			})
			start := time.Now()
			_, err := n.open(Options{Name: "r.lab.test"}).Manifest(t.Context(), "a", "b")
			var e *Error
			if took := time.Since(start); !errors.As(err, &e) || took > maxTries*slow.Limit+time.Minute {
				t.Errorf("%d: %v after %v", status, err, took)
			}
		})
	}
}
