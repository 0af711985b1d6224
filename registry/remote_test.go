package registry

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/nixreg/nixreg/internal/oci"
)

// An indexSource serves what one v1.ImageIndex of images holds, under the tag "latest" of every repository.
type indexSource struct {
	fake
	idx v1.ImageIndex
}

func (s indexSource) images() ([]v1.Image, error) {
	m, err := s.idx.IndexManifest()
	if err != nil {
		return nil, err
	}
	var all []v1.Image
	for _, d := range m.Manifests {
		img, err := s.idx.Image(d.Digest)
		if err != nil {
			return nil, err
		}
		all = append(all, img)
	}
	return all, nil
}

func (s indexSource) Manifest(_ context.Context, r Request) (*v1.Descriptor, error) {
	images, err := s.images()
	if err != nil {
		return nil, err
	}
	candidates := []partial.Describable{s.idx}
	for _, img := range images {
		candidates = append(candidates, img)
	}
	for _, c := range candidates {
		d, err := partial.Descriptor(c)
		if err != nil {
			return nil, err
		}
		if d.Digest == r.Digest || r.Tag == "latest" {
			d.Data, err = c.(partial.WithRawManifest).RawManifest()
			return d, err
		}
	}
	return nil, fmt.Errorf("manifest %s: %w", r.Digest, fs.ErrNotExist)
}

func (s indexSource) Blob(_ context.Context, r BlobRequest) (Blob, error) {
	d := r.Digest
	images, err := s.images()
	if err != nil {
		return nil, err
	}
	for _, img := range images {
		if config, err := img.RawConfigFile(); err == nil && digestIs(img, d) {
			return oci.Bytes(config), nil
		}
		l, err := img.LayerByDigest(d)
		if err != nil {
			continue
		}
		rc, err := l.Compressed()
		if err != nil {
			return nil, err
		}
		defer rc.Close()
		data, err := io.ReadAll(rc)
		return oci.Bytes(data), err
	}
	return nil, fmt.Errorf("blob %s: %w", d, fs.ErrNotExist)
}

func digestIs(img v1.Image, d v1.Hash) bool {
	config, err := img.ConfigName()
	return err == nil && config == d
}

// go-containerregistry's own client pulls an index and its images, and finds every digest and size right.
func TestRemotePull(t *testing.T) {
	idx, err := random.Index(3000, 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(&Handler{Source: indexSource{idx: idx}, Lister: newShelf(t)})
	defer srv.Close()
	ref, err := name.ParseReference(strings.TrimPrefix(srv.URL, "http://") + "/some/thing:latest")
	if err != nil {
		t.Fatal(err)
	}
	got, err := remote.Index(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(got); err != nil {
		t.Error(err)
	}
	want, err := idx.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if d, err := got.Digest(); err != nil || d != want {
		t.Errorf("digest %s, want %s (%v)", d, want, err)
	}
	head, err := remote.Head(ref, remote.WithContext(t.Context()))
	if err != nil || head.Digest != want {
		t.Errorf("head: %v, %v", head, err)
	}
	hello, err := name.NewRepository(strings.TrimPrefix(srv.URL, "http://") + "/hello")
	if err != nil {
		t.Fatal(err)
	}
	tags, err := remote.List(hello, remote.WithContext(t.Context()), remote.WithPageSize(1))
	if err != nil || strings.Join(tags, " ") != "1.0 latest" {
		t.Errorf("tags %q, %v", tags, err)
	}
}
