package export

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"

	"github.com/nixreg/nixreg/internal/errkind"
	"github.com/nixreg/nixreg/internal/oci"
)

const (
	pushJobs  = 4 // blobs at the same time
	mountJobs = 8 // layers that are looked up at the same time
)

// Target is a repository and tag of a registry.
type Target struct {
	Name string // HOST/REPO:TAG, as docker push takes it
	// MountFrom are other repositories of the registry. Layers that one of them has are mounted and not sent.
	MountFrom []string
	Keychain  authn.Keychain
	// SkipVerify allows any certificate and plain HTTP. Without it, plain HTTP is only used to reach this machine, if that
	// does not speak HTTPS. No other machine gets a request or a password over plain HTTP.
	SkipVerify bool
	UserAgent  string

	dial func(ctx context.Context, network, address string) (net.Conn, error) // nil: the default of net/http
}

// Push sends the layers, configs and manifests that the target lacks. For an index it sends all images. The digest in the
// registry is the digest in the repository. progress counts the bytes sent. If the registry denies access, the error matches
// [fs.ErrPermission].
func (img *Image) Push(ctx context.Context, t Target, progress Progress) error {
	tag, from, err := t.parse()
	if err != nil {
		return err
	}
	if missing := img.Missing(); len(missing) > 0 {
		return fmt.Errorf("push to %s: manifest %s is missing, and registries take no index without it: %w", tag, missing[0], fs.ErrNotExist)
	}
	if err := img.push(ctx, t, tag, from, progress); err != nil {
		return fmt.Errorf("push to %s: %w", tag, refusal(err))
	}
	return nil
}

// parse returns the tag, and the repositories of MountFrom.
func (t Target) parse() (name.Tag, []name.Repository, error) {
	options := []name.Option{name.WeakValidation}
	if host, _, _ := strings.Cut(t.Name, "/"); t.SkipVerify || oci.IsLoopback(host) {
		options = append(options, name.Insecure)
	}
	tag, err := name.NewTag(t.Name, options...)
	if err != nil {
		return name.Tag{}, nil, errkind.Invalid("%v", err)
	}
	var from []name.Repository
	for _, repo := range t.MountFrom {
		r, err := name.NewRepository(tag.RegistryStr()+"/"+repo, options...)
		if err != nil {
			return name.Tag{}, nil, errkind.Invalid("mount from %.300q: %v", repo, err)
		}
		from = append(from, r)
	}
	return tag, from, nil
}

func (img *Image) push(ctx context.Context, t Target, tag name.Tag, from []name.Repository, progress Progress) error {
	wire, closeIdle := t.transport()
	defer closeIdle()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the reads of layers that were given up
	options := []remote.Option{
		remote.WithAuthFromKeychain(endingKeychain{t.Keychain}), remote.WithJobs(pushJobs), remote.WithUserAgent(t.UserAgent),
		remote.WithTransport(wire), remote.WithContext(ctx),
	}
	v := &view{ctx: ctx, repository: img.repository, documents: img.documents}
	var err error
	if v.mounts, err = img.mounts(ctx, from, options); err != nil {
		return err
	}
	v.meter = newMeter(progress, 0)
	defer v.meter.stop() // a request that was given up may still read
	return remote.Push(tag, v.of(img.top()), options...)
}

// mounts returns a repository of from for each blob that one of them has. A single repository is not asked: the registry
// checks it when it mounts.
func (img *Image) mounts(ctx context.Context, from []name.Repository, options []remote.Option) (map[v1.Hash]name.Repository, error) {
	found := make(map[v1.Hash]name.Repository)
	for _, d := range img.documents {
		for _, b := range d.blobs() {
			if len(from) > 0 {
				found[b.Digest] = from[0]
			}
		}
	}
	if len(from) < 2 {
		return found, nil
	}
	puller, err := remote.NewPuller(options...)
	if err != nil {
		return nil, err
	}
	type mount struct {
		digest v1.Hash
		repo   name.Repository
	}
	mounts := make(chan mount, len(found))
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(mountJobs)
	for digest := range found {
		g.Go(func() error {
			for _, repo := range from {
				if has(within, puller, repo.Digest(digest.String())) {
					mounts <- mount{digest, repo}
					break
				}
			}
			return within.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	close(mounts)
	clear(found)
	for m := range mounts {
		found[m.digest] = m.repo
	}
	return found, nil
}

// has reports whether a repository has a blob. It is false if the repository cannot be asked.
func has(ctx context.Context, puller *remote.Puller, ref name.Digest) bool {
	l, err := puller.Layer(ctx, ref)
	if err != nil {
		return false
	}
	ok, err := partial.Exists(l)
	return err == nil && ok
}
