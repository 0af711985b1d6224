package mirror

import (
	"context"
	"errors"
	"io/fs"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/kv"
)

// records has the facts about one upstream:
//
//	tag/<repo>:<tag>          the digest of a tag, and when the upstream gave it
//	manifest/<repo>@<digest>  the repository has this manifest or index: its media type
//	blob/<repo>@<digest>      the repository has this blob
//	list/<repo>               the tags of the repository
//	referrers/<repo>@<digest> the referrers of a manifest
//
// No record says which blobs are on disk: their files do, so that a record cannot be wrong about them.
type records struct {
	store  Records
	prefix string
}

// tagRecord is the digest of a tag at a time.
type tagRecord struct {
	Digest  v1.Hash   `json:"digest"`
	Checked time.Time `json:"checked"`
}

// manifestRecord says that a repository has a manifest or index.
type manifestRecord struct {
	MediaType types.MediaType `json:"mediaType"`
}

// blobRecord says that a repository has a blob. It has no size: manifests may be wrong about that.
type blobRecord struct{}

// listRecord is a list of the upstream at a time.
type listRecord[T any] struct {
	List    []T       `json:"list"`
	Checked time.Time `json:"checked"`
}

// get reads a record into to and reports whether there is one.
func (r records) get(ctx context.Context, key string, to any) (bool, error) {
	err := kv.Read(ctx, r.store, r.prefix+key, to)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (r records) put(ctx context.Context, key string, from any) error {
	return kv.Write(ctx, r.store, r.prefix+key, from)
}

func tagKey(repo, tag string) string { return "tag/" + repo + ":" + tag }

func manifestKey(repo string, d v1.Hash) string { return "manifest/" + repo + "@" + d.String() }

func blobKey(repo string, d v1.Hash) string { return "blob/" + repo + "@" + d.String() }
