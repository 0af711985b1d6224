package registry

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// maxManifest is the size of a manifest, in bytes, that every client takes (OCI distribution specification 1.1,
// "Pushing Manifests").
const maxManifest = 4 << 20

// serveManifest answers GET and HEAD for a manifest or index, by tag or by digest.
func (h *Handler) serveManifest(w *response, r *http.Request, rt route) error {
	if err := known(rt.digest); err != nil {
		return err
	}
	ns, err := namespace(r)
	if err != nil {
		return err
	}
	if rt.tag != "" {
		w.Header().Set("Vary", "Accept")
	}
	desc, err := h.Source.Manifest(r.Context(), Request{
		Repository: rt.repository,
		Tag:        rt.tag,
		Digest:     rt.digest,
		NS:         ns,
		Accept:     parseAccept(r.Header.Values("Accept")).best,
	})
	if err != nil {
		return err
	}
	if len(desc.Data) > maxManifest {
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

// namespace reads the host that containerd names when it takes this registry for a mirror of it. It is a key to look
// things up by, never an address to dial.
func namespace(r *http.Request) (string, error) {
	ns := r.URL.Query().Get("ns")
	if len(ns) > maxRepository || strings.Trim(ns, namespaceBytes) != "" {
		return "", problem(errNameInvalid, "ns %q is not a host", truncate(ns, 100))
	}
	return ns, nil
}

// checkHost refuses what is asked of a mirror for an image host that this registry does not answer for.
func (h *Handler) checkHost(r *http.Request) error {
	ns, err := namespace(r)
	if err != nil || ns == "" || slices.Contains(h.Hosts, ns) {
		return err
	}
	return problem(errNameUnknown, "this registry has no images of %s", ns)
}

const namespaceBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]"
