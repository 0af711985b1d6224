package pull

import (
	"cmp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/oci"
)

// Reference is an image of a registry. The zero Digest is none.
type Reference struct {
	Familiar   string // the name as it was given: nginx
	Host       string // docker.io, 127.0.0.1:5000
	Repository string // library/nginx
	Tag        string // may be empty if there is a digest
	Digest     v1.Hash

	full string
}

const transport = "docker://"

// ParseReference reads docker://[HOST/]REPOSITORY[:TAG][@DIGEST], with the short forms that Docker and skopeo have:
// docker://nginx is docker://docker.io/library/nginx:latest. A digest is a sha256, and goes before the tag. Errors match
// [io/fs.ErrInvalid].
func ParseReference(s string) (Reference, error) {
	rest, ok := strings.CutPrefix(s, transport)
	if !ok {
		return Reference{}, invalid("image %.300q: want docker://[HOST/]NAME[:TAG][@DIGEST]", s)
	}
	r, err := oci.ParseReference(rest)
	if strings.Contains(rest, "@") && !strings.HasPrefix(r.Digest, "sha256:") {
		return Reference{}, invalid("image %.300q: digest: want @sha256: and 64 hex digits", s)
	}
	if err != nil {
		return Reference{}, err
	}
	digest, _ := v1.NewHash(r.Digest) // zero for none
	return Reference{r.Familiar, r.Host, r.Repository, r.Tag, digest, r.String()}, nil
}

// String is the full reference, without docker://.
func (r Reference) String() string { return r.full }

// FinalTag is the tag that pullImage and nix-prefetch-docker give to an image without a tag of its own: its tag, else latest.
func (r Reference) FinalTag() string { return cmp.Or(r.Tag, oci.Latest) }

// ask is the tag or digest that the registry is asked for.
func (r Reference) ask() string {
	if r.Digest != (v1.Hash{}) {
		return r.Digest.String()
	}
	return r.Tag
}
