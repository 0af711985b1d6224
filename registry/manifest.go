package registry

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/nixreg/nixreg/internal/oci"
)

// serveManifest answers GET and HEAD for a manifest or index, by tag or by digest.
func (h *Handler) serveManifest(w *response, r *http.Request, rt route, from backend) error {
	if err := known(rt.digest); err != nil {
		return err
	}
	if rt.tag != "" {
		w.Header().Set("Vary", "Accept")
	}
	wait := h.newWait(r)
	defer wait.close()
	desc, err := from.source.Manifest(wait.ctx, Request{
		Repository: rt.inner,
		Tag:        rt.tag,
		Digest:     rt.digest,
		Accept:     parseAccept(r.Header.Values("Accept")).best,
		Warn:       func(text string) { w.Header().Add("Warning", warning(text)) },
	})
	if err != nil && wait.passed(r) {
		return h.again(w, r, rt, err)
	}
	if err != nil {
		return err
	}
	if len(desc.Data) > oci.MaxManifest {
		return fmt.Errorf("manifest %s: %d bytes are more than clients take", desc.Digest, len(desc.Data))
	}
	hdr, tag := w.Header(), etag(desc.Digest)
	hdr.Set("Docker-Content-Digest", desc.Digest.String())
	hdr.Set("Etag", tag)
	hdr.Set("Cache-Control", immutable)
	if rt.tag != "" {
		hdr.Set("Cache-Control", "no-cache")
	}
	if notModified(r.Header, tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	w.document(http.StatusOK, string(desc.MediaType), desc.Data)
	return nil
}

// warning is a header that clients show to their users.
//
// Source: OCI distribution specification 1.1, "Warnings".
func warning(text string) string {
	return `299 - "` + strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return '_'
		}
		return c
	}, truncate(text, maxMessage)) + `"`
}
