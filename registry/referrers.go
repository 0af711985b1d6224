package registry

import (
	"net/http"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// serveReferrers answers with an index of the referrers of a manifest, which need not exist.
//
// Source: OCI distribution specification 1.1, "Listing Referrers".
func (h *Handler) serveReferrers(w *response, r *http.Request, rt route, from backend) error {
	list := []v1.Descriptor{} // clients expect [], not null
	if from.referrers != nil && rt.digest.Algorithm == "sha256" {
		wait := h.newWait(r)
		defer wait.close()
		found, err := from.referrers.Referrers(wait.ctx, rt.inner, rt.digest)
		if err != nil && wait.passed(r) {
			return h.again(w, r, rt, err)
		}
		if err != nil {
			return err
		}
		list = append(list, found...)
	}
	if want := r.URL.Query().Get("artifactType"); want != "" {
		list = slices.DeleteFunc(list, func(d v1.Descriptor) bool { return d.ArtifactType != want })
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	for i := range list {
		list[i].Data = nil // without documents
	}
	w.Header().Set("Cache-Control", "no-cache")
	w.document(http.StatusOK, string(types.OCIImageIndex), encode(struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     types.MediaType `json:"mediaType"`
		Manifests     []v1.Descriptor `json:"manifests"`
	}{2, types.OCIImageIndex, list}))
	return nil
}
