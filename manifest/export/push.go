package export

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"unicode"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"

	"github.com/nixreg/nixreg/internal/oci"
)

const (
	pushJobs  = 4 // blobs at the same time
	mountJobs = 8 // questions at the same time
	maxReason = 500
)

// Target is a place in a registry.
type Target struct {
	Name string // HOST/REPO:TAG, as docker push takes it
	// MountFrom are other repositories of the registry: a layer that one of them has is not sent.
	MountFrom []string
	Keychain  authn.Keychain
	// SkipVerify takes any certificate, and plain HTTP. The own machine is asked over plain HTTP in any case, if it speaks
	// no HTTPS; no other is, nor told a password.
	SkipVerify bool
	UserAgent  string

	dial func(ctx context.Context, network, address string) (net.Conn, error) // nil: as usual
}

// Push sends what the target lacks: layers, config and manifest, of an index all images. The digest there is the one of
// the repository. The progress is that of what is sent. What the registry refuses gives an error matching
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
		return fmt.Errorf("push to %s: %w", tag, said(err))
	}
	return nil
}

func (t Target) parse() (name.Tag, []name.Repository, error) {
	options := []name.Option{name.WeakValidation}
	if host, _, _ := strings.Cut(t.Name, "/"); t.SkipVerify || oci.IsLoopback(host) {
		options = append(options, name.Insecure)
	}
	tag, err := name.NewTag(t.Name, options...)
	if err != nil {
		return name.Tag{}, nil, invalid("%v", err)
	}
	var from []name.Repository
	for _, repo := range t.MountFrom {
		r, err := name.NewRepository(tag.RegistryStr()+"/"+repo, options...)
		if err != nil {
			return name.Tag{}, nil, invalid("mount from %.300q: %v", repo, err)
		}
		from = append(from, r)
	}
	return tag, from, nil
}

func (img *Image) push(ctx context.Context, t Target, tag name.Tag, from []name.Repository, progress Progress) error {
	wire, closeIdle := t.transport()
	defer closeIdle()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends what still reads layers
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
	defer v.meter.stop() // a request that was given up may still be reading
	return remote.Push(tag, v.of(img.top()), options...)
}

func (t Target) transport() (_ http.RoundTripper, closeIdle func()) {
	base := remote.DefaultTransport.(*http.Transport).Clone()
	if t.dial != nil {
		base.DialContext = t.dial
	}
	if t.SkipVerify {
		base.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		return base, base.CloseIdleConnections
	}
	return httpsOnly{base}, base.CloseIdleConnections
}

// httpsOnly asks no other machine over plain HTTP: go-containerregistry falls back to it for private addresses, and goes
// where a registry sends it.
type httpsOnly struct{ http.RoundTripper }

func (t httpsOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !oci.IsLoopback(r.URL.Host) {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, invalid("want HTTPS")
	}
	return t.RoundTripper.RoundTrip(r)
}

// mounts finds a repository for each layer that one has. With a single repository the registry finds out by itself.
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

// has reports whether a repository is known to have a blob; one that does not tell has none.
func has(ctx context.Context, puller *remote.Puller, ref name.Digest) bool {
	l, err := puller.Layer(ctx, ref)
	if err != nil {
		return false
	}
	ok, err := partial.Exists(l)
	return err == nil && ok
}

// said is the error of a registry, in one line that is not too long, and of its kind.
func said(err error) error {
	text := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, err.Error())
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	e := &registryError{text: text, cause: err}
	if wire := (*transport.Error)(nil); errors.As(err, &wire) {
		e.denied = wire.StatusCode == http.StatusUnauthorized || wire.StatusCode == http.StatusForbidden
	}
	return e
}

type registryError struct {
	text   string
	cause  error
	denied bool
}

func (e *registryError) Error() string        { return e.text }
func (e *registryError) Unwrap() error        { return e.cause }
func (e *registryError) Is(target error) bool { return e.denied && target == fs.ErrPermission }
