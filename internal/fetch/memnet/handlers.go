package memnet

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Cutter serves Data, and cuts the connection after some bytes of each of the first answers. Not safe for concurrent requests.
type Cutter struct {
	Data   string
	Etag   string
	Cuts   []int                                             // bytes of each of the first answers
	Ranges func(w http.ResponseWriter, r *http.Request) bool // answers a request for a range; nil answers with the range
	Asked  []string                                          // Range and If-Range of each request
}

// ServeHTTP implements [http.Handler].
func (c *Cutter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.Asked = append(c.Asked, strings.TrimSpace(r.Header.Get("Range")+" "+r.Header.Get("If-Range")))
	if c.Etag != "" {
		w.Header().Set("ETag", c.Etag)
	}
	off := 0
	if s := r.Header.Get("Range"); s != "" && (c.Ranges == nil || c.Ranges(w, r)) {
		fmt.Sscanf(s, "bytes=%d-", &off)
		if c.Ranges == nil {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", off, len(c.Data)-1, len(c.Data)))
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(c.Data)-off))
		w.WriteHeader(http.StatusPartialContent)
	} else if w.Header().Get("Content-Length") == "" {
		w.Header().Set("Content-Length", fmt.Sprint(len(c.Data)))
	}
	data := c.Data[off:]
	if n := len(c.Asked); n <= len(c.Cuts) {
		io.WriteString(w, data[:c.Cuts[n-1]])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	io.WriteString(w, data)
}

// Dripper serves Data a piece at a time, from the start of a range. Not safe for concurrent requests.
type Dripper struct {
	Data  string
	Piece int           // bytes
	Pause time.Duration // after each piece
	Stop  int           // bytes after which the connection is cut; 0 is never
	Once  bool          // only the first answer is slow, and is not cut
	Asked int           // requests
}

// ServeHTTP implements [http.Handler].
func (d *Dripper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.Asked++
	data, code := d.Data, http.StatusOK
	var off int
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &off); err == nil {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", off, len(data)-1, len(data)))
		data, code = data[off:], http.StatusPartialContent
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	w.WriteHeader(code)
	if d.Once && d.Asked > 1 {
		if d.Stop > 0 && d.Stop < len(data) {
			io.WriteString(w, data[:d.Stop])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, data)
		return
	}
	for sent := 0; sent < len(data); sent += d.Piece {
		if d.Stop > 0 && sent >= d.Stop && !d.Once {
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, data[sent:min(sent+d.Piece, len(data))])
		w.(http.Flusher).Flush()
		select {
		case <-time.After(d.Pause):
		case <-r.Context().Done():
			return
		}
	}
}
