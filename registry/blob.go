package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
)

// immutable is the Cache-Control of answers to requests by digest.
const immutable = "public, max-age=31536000, immutable"

// serveBlob answers GET and HEAD for one blob, or for a range of it.
func (h *Handler) serveBlob(w *response, r *http.Request, rt route, from backend) error {
	if err := known(rt.digest); err != nil {
		return err
	}
	tag := etag(rt.digest)
	unchanged := notModified(r.Header, tag)
	wait := h.newWait(r)
	defer wait.close()
	b, err := from.source.Blob(wait.ctx, BlobRequest{
		Repository: rt.inner, Digest: rt.digest, Head: unchanged || w.method == http.MethodHead,
	})
	if err != nil && wait.passed(r) {
		return h.again(w, r, rt, err)
	}
	if err != nil {
		return err
	}
	size := b.Size()
	if size < 0 {
		return fmt.Errorf("blob %s: size %d", rt.digest, size)
	}
	if unchanged {
		blobHeader(w.Header(), rt)
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	s, v := span{0, size}, whole
	if w.method == http.MethodGet { // RFC 9110, section 14.2: other methods ignore Range
		s, v = requestedRange(r.Header, tag, size)
	}
	if v == unsatisfiable {
		w.Header().Set("Content-Range", "bytes */"+strconv.FormatInt(size, 10))
		return problem(errRange, "range %q of %d bytes", truncate(r.Header.Get("Range"), 100), size)
	}
	err = h.stream(wait.ctx, rt.digest.String(), b, &body{w: w, span: s, left: s.n, header: func() bool {
		inTime := wait.over()
		if inTime {
			sendBlobHeader(w, rt, s, v, size)
		}
		return inTime
	}})
	if err != nil && wait.passed(r) {
		return h.again(w, r, rt, err)
	}
	return err
}

// blobHeader sets the headers of every answer about a blob, 304 included.
func blobHeader(h http.Header, rt route) {
	h.Set("Docker-Content-Digest", rt.digest.String())
	h.Set("Etag", etag(rt.digest))
	h.Set("Cache-Control", immutable)
	h.Set("Accept-Ranges", "bytes")
}

func sendBlobHeader(w *response, rt route, s span, v verdict, size int64) {
	hdr, status := w.Header(), http.StatusOK
	blobHeader(hdr, rt)
	hdr.Set("Content-Type", "application/octet-stream")
	hdr.Set("Content-Length", strconv.FormatInt(s.n, 10))
	if v == part {
		hdr.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", s.off, s.off+s.n-1, size))
		status = http.StatusPartialContent
	}
	w.WriteHeader(status)
}

// stream sends the header and the span of b. It returns an error before the first byte. After that, an error cuts the connection, so that
// the client sees a short body.
func (h *Handler) stream(ctx context.Context, name string, b Blob, out *body) error {
	if out.w.method == http.MethodHead || out.left == 0 {
		if !out.begin() {
			return errWaited
		}
		return nil
	}
	err := b.WriteRange(ctx, out, out.off, out.n)
	if err == nil && out.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = out.err
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("blob %s: %d of %d bytes from %d on: %w", name, out.n-out.left, out.n, out.off, err)
	if !out.begun {
		return err
	}
	level, what := slog.LevelError, "blob cut short"
	switch {
	case out.clientFailed(err) && errors.Is(err, os.ErrDeadlineExceeded):
		level, what = slog.LevelInfo, "client took nothing for too long"
	case out.clientFailed(err), ctx.Err() != nil && errors.Is(err, context.Canceled):
		level, what = slog.LevelDebug, "client left"
	}
	h.log.Log(ctx, level, what, "err", err)
	panic(http.ErrAbortHandler)
}
