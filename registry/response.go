package registry

import (
	"io"
	"math"
	"net/http"
	"strconv"
	"time"
)

// chunk is the number of bytes between two changes of the write deadline: large enough to cost nothing, small enough for a slow client.
const chunk = 512 << 10

// response is an [http.ResponseWriter] that counts its bytes, and fails if the client does not take a chunk within the time progress. It
// belongs to one request.
type response struct {
	http.ResponseWriter
	control  *http.ResponseController
	method   string
	progress time.Duration
	status   int   // 0 until the header is sent
	written  int64 // bytes of the body
}

var _ io.ReaderFrom = (*response)(nil)

func newResponse(w http.ResponseWriter, method string, progress time.Duration) *response {
	return &response{ResponseWriter: w, control: http.NewResponseController(w), method: method, progress: progress}
}

// Unwrap is for [http.ResponseController].
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.extend()
	w.ResponseWriter.WriteHeader(status)
}

// extend moves the write deadline. It ignores errors: the write meets them again.
func (w *response) extend() {
	_ = w.control.SetWriteDeadline(time.Now().Add(w.progress))
}

func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	done := 0
	for {
		w.extend()
		n, err := w.ResponseWriter.Write(p[done:min(done+chunk, len(p))])
		done += n
		w.written += int64(n)
		if err != nil || done == len(p) {
			return done, err
		}
	}
}

// ReadFrom copies src until its end. net/http uses sendfile only for an *io.LimitedReader directly over an *os.File, so src is passed on in
// new ones of one chunk each.
func (w *response) ReadFrom(src io.Reader) (total int64, err error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	lr, ok := src.(*io.LimitedReader)
	if !ok {
		lr = &io.LimitedReader{R: src, N: math.MaxInt64}
	}
	for lr.N > 0 {
		w.extend()
		size := min(chunk, lr.N)
		c := &io.LimitedReader{R: lr.R, N: size}
		n, err := io.Copy(w.ResponseWriter, c) // finds the inner ReadFrom, if there is one
		lr.N -= size - c.N
		total += n
		w.written += n
		if err != nil || n < size {
			return total, err
		}
	}
	return total, nil
}

// document answers with a small body. For HEAD it sends only the header.
func (w *response) document(status int, mediaType string, data []byte) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	if w.method != http.MethodHead {
		_, _ = w.Write(data) // an error means that the client has left
	}
}
