package pull

import (
	"cmp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/errkind"
	"github.com/nixreg/nixreg/internal/oci"
)

// Reference names an image of a registry. The zero Digest means none.
type Reference struct {
	Familiar   string // the name as it was given: nginx
	Host       string // docker.io, 127.0.0.1:5000
	Repository string // library/nginx
	Tag        string // may be empty if there is a digest
	Digest     v1.Hash

	full string
}

const transport = "docker://"

// ParseReference parses docker://[HOST/]REPOSITORY[:TAG][@DIGEST] with the short forms of Docker and skopeo: docker://nginx is
// docker://docker.io/library/nginx:latest. A digest is SHA-256 and wins over the tag. Errors match [io/fs.ErrInvalid].
func ParseReference(s string) (Reference, error) {
	rest, ok := strings.CutPrefix(s, transport)
	if !ok {
		return Reference{}, errkind.Invalid("image %.300q: want docker://[HOST/]NAME[:TAG][@DIGEST]", s)
	}
	r, err := oci.ParseReference(rest)
	if strings.Contains(rest, "@") && !strings.HasPrefix(r.Digest, "sha256:") {
		return Reference{}, errkind.Invalid("image %.300q: digest: want @sha256: and 64 hex digits", s)
	}
	if err != nil {
		return Reference{}, err
	}
	digest, _ := v1.NewHash(r.Digest) // zero for none
	return Reference{r.Familiar, r.Host, r.Repository, r.Tag, digest, r.String()}, nil
}

// String returns the full reference without docker://.
func (r Reference) String() string { return r.full }

// FinalTag returns the tag, or latest if there is none. pullImage and nix-prefetch-docker default to it, too.
func (r Reference) FinalTag() string { return cmp.Or(r.Tag, oci.Latest) }

// tagOrDigest returns the last part of the URL of the manifest.
func (r Reference) tagOrDigest() string {
	if r.Digest != (v1.Hash{}) {
		return r.Digest.String()
	}
	return r.Tag
}
