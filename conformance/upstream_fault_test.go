package conformance_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
)

// A fault answers in a registry's place; next has the registry's own answer.
type fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

// spoilt are requests that a fault answers.
type spoilt struct {
	part  string // of the request's line
	times int    // that are left; below 0 there is no end
	fault fault
}

// always is for a fault that lasts until it is healed.
const always = -1

// spoil lets a fault answer the next requests whose line has a part.
func (u *upstream) spoil(part string, times int, f fault) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.spoilt = append(u.spoilt, &spoilt{part, times, f})
}

// heal ends all faults; answers under way stay as they are.
func (u *upstream) heal() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.spoilt = nil
}

// take finds the fault for a request; u.mu is held.
func (u *upstream) take(line string) fault {
	for _, s := range u.spoilt {
		if s.times != 0 && strings.Contains(line, s.part) {
			s.times--
			return s.fault
		}
	}
	return nil
}

// status answers with an error and no more; headers are names and values in turn.
func status(code int, headers ...string) fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		for h := range slices.Chunk(headers, 2) {
			w.Header().Set(h[0], h[1])
		}
		w.WriteHeader(code)
	}
}

// drop closes the connection without an answer.
func drop(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

// cut ends the body half way.
func cut(w http.ResponseWriter, r *http.Request, next http.Handler) {
	sendHalf(w, answerOf(next, r))
	panic(http.ErrAbortHandler)
}

// cutForGood cuts the body, and drops whoever asks for the rest of it.
func cutForGood(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if r.Header.Get("Range") != "" {
		drop(w, r, next)
	}
	cut(w, r, next)
}

// hold sends the second half of the body when release is closed.
func hold(release <-chan struct{}) fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		rest := sendHalf(w, answerOf(next, r))
		select {
		case <-release:
			_, _ = w.Write(rest) // an error means that the client left
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
}

// sendHalf sends the header and half of the body, and returns the rest.
func sendHalf(w http.ResponseWriter, a *httptest.ResponseRecorder) []byte {
	body := a.Body.Bytes()
	copyHeader(w, a)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(a.Code)
	_, _ = w.Write(body[:len(body)/2])
	_ = http.NewResponseController(w).Flush()
	return body[len(body)/2:]
}

// change sends another body, and its length, under the header of the right one.
func change(edit func([]byte) []byte) fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		a := answerOf(next, r)
		body := edit(bytes.Clone(a.Body.Bytes()))
		copyHeader(w, a)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(a.Code)
		_, _ = w.Write(body)
	}
}

// flip changes one byte: the one at a fraction of the length.
func flip(numerator, denominator int) func([]byte) []byte {
	return func(b []byte) []byte {
		b[(len(b)-1)*numerator/denominator] ^= 1
		return b
	}
}

func longer(b []byte) []byte  { return append(b, '\n') }
func shorter(b []byte) []byte { return b[:len(b)-1] }

func page([]byte) []byte { return []byte("<html>Please log in to this network.</html>") }

// redirect sends the client elsewhere: to the base, followed by the path it asked for.
func redirect(base string) fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		http.Redirect(w, r, base+r.URL.Path, http.StatusTemporaryRedirect)
	}
}

// without leaves headers out.
func without(headers ...string) fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		a := answerOf(next, r)
		for _, h := range headers {
			a.Result().Header.Del(h)
		}
		replay(w, a)
	}
}
