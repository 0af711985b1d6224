package export

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/errkind"
)

// view gives documents the interfaces of go-containerregistry. These have no contexts, so ctx is for all calls.
type view struct {
	ctx        context.Context
	repository Repository
	documents  []*entry
	mounts     map[v1.Hash]name.Repository
	meter      *meter
}

// described has the methods that images and indexes share.
type described interface {
	MediaType() (types.MediaType, error)
	Digest() (v1.Hash, error)
	Size() (int64, error)
	RawManifest() ([]byte, error)
}

func (v *view) of(d *entry) described {
	if d.index != nil {
		return &indexView{documentView{v, d}}
	}
	return &imageView{documentView{v, d}}
}

// documentView is one manifest or index.
type documentView struct {
	*view
	doc *entry
}

func (d documentView) MediaType() (types.MediaType, error) { return d.doc.desc.MediaType, nil }
func (d documentView) Digest() (v1.Hash, error)            { return d.doc.desc.Digest, nil }
func (d documentView) Size() (int64, error)                { return d.doc.desc.Size, nil }
func (d documentView) RawManifest() ([]byte, error)        { return d.doc.desc.Data, nil }

// imageView is a [v1.Image].
type imageView struct{ documentView }

var _ v1.Image = (*imageView)(nil)

func (i *imageView) Manifest() (*v1.Manifest, error)         { return i.doc.manifest, nil }
func (i *imageView) ConfigName() (v1.Hash, error)            { return i.doc.manifest.Config.Digest, nil }
func (i *imageView) ConfigLayer() (v1.Layer, error)          { return i.layer(i.doc.manifest.Config), nil }
func (i *imageView) ConfigFile() (*v1.ConfigFile, error)     { return partial.ConfigFile(i) }
func (i *imageView) LayerByDiffID(v1.Hash) (v1.Layer, error) { return nil, errNoDiffIDs }
func (i *imageView) RawConfigFile() ([]byte, error) {
	return i.doc.config(i.ctx, i.repository)
}

func (i *imageView) Layers() ([]v1.Layer, error) {
	layers := make([]v1.Layer, len(i.doc.manifest.Layers))
	for k, d := range i.doc.manifest.Layers {
		layers[k] = i.layer(d)
	}
	return layers, nil
}

func (i *imageView) LayerByDigest(digest v1.Hash) (v1.Layer, error) {
	for _, d := range i.doc.blobs() {
		if d.Digest == digest {
			return i.layer(d), nil
		}
	}
	return nil, fmt.Errorf("layer %s: %w", digest, fs.ErrNotExist)
}

// layer returns a layer. If another repository has it, the registry may mount it from there.
func (v *view) layer(d v1.Descriptor) v1.Layer {
	l := &layerView{view: v, desc: d}
	if repo, ok := v.mounts[d.Digest]; ok {
		return &remote.MountableLayer{Layer: l, Reference: repo.Digest(d.Digest.String())}
	}
	return l
}

// layerView is a [v1.Layer] of a layer or a config.
type layerView struct {
	*view
	desc v1.Descriptor

	mu   sync.Mutex
	sent *meteredReader // of the last attempt
}

func (l *layerView) Digest() (v1.Hash, error)             { return l.desc.Digest, nil }
func (l *layerView) Size() (int64, error)                 { return l.desc.Size, nil }
func (l *layerView) MediaType() (types.MediaType, error)  { return l.desc.MediaType, nil }
func (l *layerView) DiffID() (v1.Hash, error)             { return v1.Hash{}, errNoDiffIDs }
func (l *layerView) Uncompressed() (io.ReadCloser, error) { return nil, errNoDiffIDs }

// Compressed returns the bytes. go-containerregistry calls it again for each attempt to send them.
func (l *layerView) Compressed() (io.ReadCloser, error) {
	b, err := l.repository.Blob(l.ctx, l.desc.Digest)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sent == nil {
		l.meter.expect(l.desc.Size)
	} else {
		l.meter.add(-l.sent.n.Load())
	}
	l.sent = &meteredReader{ReadCloser: reader(l.ctx, b), meter: l.meter}
	return l.sent, nil
}

// errNoDiffIDs is returned by the methods that a push does not call.
var errNoDiffIDs = errkind.Invalid("uncompressed layers are not read here")

// indexView is a [v1.ImageIndex].
type indexView struct{ documentView }

var _ v1.ImageIndex = (*indexView)(nil)

func (i *indexView) IndexManifest() (*v1.IndexManifest, error) { return i.doc.index, nil }

func (i *indexView) Image(digest v1.Hash) (v1.Image, error) {
	for _, c := range i.documents {
		if c.desc.Digest == digest && c.manifest != nil {
			return &imageView{documentView{i.view, c}}, nil
		}
	}
	return nil, fmt.Errorf("image %s: %w", digest, fs.ErrNotExist)
}

func (i *indexView) ImageIndex(digest v1.Hash) (v1.ImageIndex, error) {
	for _, c := range i.documents {
		if c.desc.Digest == digest && c.index != nil {
			return &indexView{documentView{i.view, c}}, nil
		}
	}
	return nil, fmt.Errorf("index %s: %w", digest, fs.ErrNotExist)
}
