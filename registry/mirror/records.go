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

// records are the facts about one upstream, each under a key of its own:
//
//	tag/<repo>:<tag>          what the tag meant, and when that was asked
//	manifest/<repo>@<digest>  the repository has this manifest or index: its media type
//	blob/<repo>@<digest>      the repository has this blob
//	list/<repo>               its tags
//	referrers/<repo>@<digest> what refers to a manifest
//
// That a blob itself is kept is not recorded: its file says so, and the two cannot part.
type records struct {
	store  Records
	prefix string
}

// A tagRecord is what a tag meant at a time.
type tagRecord struct {
	Digest  v1.Hash   `json:"digest"`
	Checked time.Time `json:"checked"`
}

// A manifestRecord says that a repository has a manifest or index.
type manifestRecord struct {
	MediaType types.MediaType `json:"mediaType"`
}

// A blobRecord says that a repository has a blob, and no more: what manifests say of it may be wrong.
type blobRecord struct{}

// A listRecord is a list the upstream gave at a time.
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
