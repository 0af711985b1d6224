// Package registry is the read side of a container registry over HTTP: the Docker Registry HTTP API V2 and the OCI
// distribution specification 1.1.
//
// It owns the routes, HEAD and GET, content negotiation, conditional and range requests, paging, and the form of every error. Two small
// interfaces, [Source] and [Lister], give it what it serves. It must not know how images are made: neither Nix, nor tar, nor records.
//
//	h := &registry.Handler{Source: images, Lister: images, Log: slog.Default()}
//	http.ListenAndServe("localhost:5000", h)
//
// The handler must not be mounted in an [http.ServeMux]: that redirects "//" and "..", which would lead to another repository.
package registry

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/gorilla/mux"
)

const defaultProgress = 2 * time.Minute

// Handler serves /v2/ and /healthz. Set the fields before the first request; do not copy it. Safe for concurrent use.
type Handler struct {
	Source Source // must be set
	Lister Lister // nil: tags/list and _catalog are unknown endpoints
	// Referrers may be nil: then no manifest has referrers.
	Referrers ReferrerLister
	// Hosts are the values of ns for Source: see [Mirror].
	Hosts []string
	// Mirrors have the images of other registries. A repository whose first component is the name of a mirror belongs to that, even
	// if Source has the name.
	Mirrors []Mirror
	// Faults returns lines about faults for /healthz, which reports success all the same; nil: none. It must be quick.
	Faults func(context.Context) []string
	Log    *slog.Logger // nil: nothing is logged
	// Progress is the time in which a client must take 512 KiB of a response; 0 is 2 minutes.
	Progress time.Duration
	// Wait is the time after which a request for a manifest, a blob or referrers is redirected to its own URL, because its answer is
	// not ready; 0 is 20 seconds. After eight such hops, the client gets 503.
	Wait time.Duration

	once   sync.Once
	router *mux.Router
	log    *slog.Logger
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.once.Do(h.setup)
	h.router.ServeHTTP(w, r)
}

// setup makes the router. It does not clean or decode paths: parsePath gets the path as the client sent it.
func (h *Handler) setup() {
	h.log = h.Log
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	h.router = mux.NewRouter().SkipClean(true).UseEncodedPath()
	h.router.Path("/v2").Handler(h.endpoint(h.serveV2))
	h.router.PathPrefix("/v2/").Handler(h.endpoint(h.serveV2))
	h.router.Path("/healthz").Handler(h.endpoint(h.serveHealth))
	h.router.NotFoundHandler = h.endpoint(func(*response, *http.Request) (route, error) {
		return route{}, problem(errEndpoint, "no such endpoint")
	})
}

// endpoint answers a request, or returns an error before the first byte of the answer. The route has the parts of the path that could be
// parsed.
type endpoint func(w *response, r *http.Request) (route, error)

// endpoint wraps e in what all endpoints share: the version header, the check of the method, answers with errors, recovery from panics,
// and the access log.
func (h *Handler) endpoint(e endpoint) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w := newResponse(rw, r.Method, h.progress())
		if h.log.Enabled(r.Context(), slog.LevelDebug) {
			defer h.logRequest(w, r, time.Now())
		}
		defer h.recover(w, r)
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			h.fail(w, r, route{}, problem(errMethod, "this registry is read-only"))
			return
		}
		if rt, err := e(w, r); err != nil {
			h.fail(w, r, rt, err)
		}
	})
}

// logRequest writes a line of the access log.
func (h *Handler) logRequest(w *response, r *http.Request, begun time.Time) {
	h.log.DebugContext(r.Context(), "request", "method", r.Method, "path", loggedPath(r),
		"status", w.status, "bytes", w.written, "duration", time.Since(begun), "client", r.RemoteAddr)
}

// recover answers 500 after a panic. If the answer has begun, it cuts the connection.
func (h *Handler) recover(w *response, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	h.log.ErrorContext(r.Context(), "panic", "method", r.Method, "path", loggedPath(r),
		"panic", v, "stack", string(debug.Stack()))
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	writeError(w, errUnknown, "", nil)
}

func (h *Handler) progress() time.Duration {
	if h.Progress > 0 {
		return h.Progress
	}
	return defaultProgress
}

// loggedPath is the path as sent, without the query, shortened for the log.
func loggedPath(r *http.Request) string {
	return truncate(r.URL.EscapedPath(), 512)
}

// serveHealth answers 200, and lists faults: they are no reason to restart nixreg.
func (h *Handler) serveHealth(w *response, r *http.Request) (route, error) {
	text := "ok\n"
	if h.Faults != nil {
		for _, f := range h.Faults(r.Context()) {
			text += "fault: " + f + "\n"
		}
	}
	w.document(http.StatusOK, "text/plain; charset=utf-8", []byte(text))
	return route{}, nil
}

// serveV2 parses the request and calls the method for its kind.
func (h *Handler) serveV2(w *response, r *http.Request) (route, error) {
	rt, err := parsePath(r.URL.EscapedPath())
	if err != nil {
		return rt, err
	}
	b, err := h.backend(r, &rt)
	if err != nil {
		return rt, err
	}
	switch rt.kind {
	case manifest:
		err = h.serveManifest(w, r, rt, b)
	case blob:
		err = h.serveBlob(w, r, rt, b)
	case tags:
		err = b.serveTags(w, r, rt)
	case catalog:
		err = b.serveCatalog(w, r)
	case referrers:
		err = h.serveReferrers(w, r, rt, b)
	default: // ping
		w.document(http.StatusOK, "application/json", []byte("{}"))
	}
	return rt, err
}
