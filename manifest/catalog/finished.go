package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/manifest/draft"
	"github.com/nixreg/nixreg/manifest/fault"
	"github.com/nixreg/nixreg/manifest/finished"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/store"
)

// readyFile is an image file with finished images: a docker-archive, or an OCI layout.
type readyFile struct {
	repository string
	images     []readyImage
	byTag      map[string]*draft.Definition
}

type readyImage struct {
	tags       []string
	definition *draft.Definition
}

// reference is the name and tag of an image in its file; the name may be "".
type reference struct{ name, tag string }

// add adds an image. It ignores a tag that no client can ask for. For a tag that an earlier image has, the image gets NAME-TAG, where NAME is the
// last component of its name.
func (f *readyFile) add(title, version string, r finished.Image, refs ...reference) {
	m := readyImage{definition: &draft.Definition{Title: title, Version: version, Kind: draft.Finished(r)}}
	if f.byTag == nil {
		f.byTag = make(map[string]*draft.Definition)
	}
	for _, ref := range refs {
		if other := f.byTag[ref.tag]; other != nil && other != m.definition && ref.name != "" {
			ref.tag = path.Base(ref.name) + "-" + ref.tag
		}
		f.tag(&m, ref.tag)
	}
	f.images = append(f.images, m)
}

func (f *readyFile) tag(m *readyImage, tag string) {
	if tag != "" && packages.TagName(tag) == tag && f.byTag[tag] == nil {
		f.byTag[tag] = m.definition
		m.tags = append(m.tags, tag)
	}
}

// numberUntagged gives an image of several that has no tag of its own its place in the file as a tag: image-2.
func (f *readyFile) numberUntagged() {
	for i := range f.images {
		if m := &f.images[i]; len(m.tags) == 0 && len(f.images) > 1 {
			f.tag(m, fmt.Sprintf("image-%d", i+1))
		}
	}
}

// tagged returns the image of a tag. If the file has only one image, that image is latest, too.
func (f *readyFile) tagged(tag string) *draft.Definition {
	if d := f.byTag[tag]; d != nil || tag != packages.Latest || len(f.images) > 1 {
		return d
	}
	return f.images[0].definition
}

func (f *readyFile) lookup(tag string) ([]*draft.Definition, error) {
	if d := f.tagged(tag); d != nil {
		return []*draft.Definition{d}, nil
	}
	return nil, packages.UnknownTag(f.repository, tag)
}

// tags returns the tags of all images, sorted by bytes.
func (f *readyFile) tags() []string {
	var tags []string
	for _, m := range f.images {
		tags = append(tags, m.tags...)
	}
	if f.tagged(packages.Latest) != nil {
		tags = append(tags, packages.Latest)
	}
	slices.Sort(tags)
	return slices.Compact(tags)
}

// newest returns up to n tags, one of each image. It takes the last images of the file: tools append new images to the index of
// a layout, and no other field says when an image was made. A nil file has no tags.
func (f *readyFile) newest(n int) []string {
	if f == nil {
		return nil
	}
	var tags []string
	for _, m := range f.images {
		if len(m.tags) > 0 {
			tags = append(tags, m.tags[0])
		} else if f.tagged(packages.Latest) == m.definition {
			tags = append(tags, packages.Latest)
		}
	}
	return tags[max(0, len(tags)-n):]
}

// addLayoutImages adds the images in the index of a layout. The name of an image may be a whole reference. If the index has
// several manifests without names, each for a platform, they are one image, and the layout's index is the index of that image.
func addLayoutImages(ctx context.Context, m *layer.Maker, f *readyFile, o *store.Object, file string, packed bool) error {
	b, list, err := finished.ReadLayoutIndex(ctx, m, o, file, packed)
	if err != nil {
		return err
	}
	if finished.ArePlatforms(list) {
		f.add("", "", *finished.IndexedLayout(o, file, packed, b))
		return nil
	}
	for _, d := range list {
		ref := reference{tag: d.Annotations[oci.RefName]}
		if strings.ContainsAny(ref.tag, ":/") {
			whole, _, _ := strings.Cut(ref.tag, "@")
			ref.name, ref.tag, _ = oci.SplitTag(whole)
		}
		root := v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, Platform: d.Platform}
		f.add("", "", finished.Image{Path: o.Path, File: file, Root: &root, Packed: packed}, ref)
	}
	return nil
}

// ready reads an image file with finished images. It returns nil if the file is of another kind, or is a link to nothing.
func (m *fileReader) ready(ctx context.Context, repository, file string) (*readyFile, error) {
	p, rest, kind := m.recognise(ctx, file)
	if kind == notReady {
		return nil, nil
	}
	f := &readyFile{repository: repository}
	o, err := m.env.Store.Object(ctx, p)
	if err == nil {
		err = m.readInto(ctx, f, kind, o, rest)
	}
	if err != nil {
		return nil, fault.OfFile(repository, file, err)
	}
	f.numberUntagged()
	return f, nil
}

func (m *fileReader) readInto(ctx context.Context, f *readyFile, kind readyKind, o *store.Object, file string) error {
	if kind == ociLayout {
		return addLayoutImages(ctx, m.env.Layers, f, o, file, false)
	}
	a, err := m.env.Layers.Archive(ctx, o, file)
	if err != nil {
		return err
	}
	if finished.IsPackedLayout(a) {
		return addLayoutImages(ctx, m.env.Layers, f, o, file, true)
	}
	list, err := finished.ArchiveImages(ctx, a)
	if err != nil {
		return err
	}
	for _, image := range list {
		var title, version string
		var refs []reference
		for i, ref := range image.RepoTags {
			ref, _, _ = strings.Cut(ref, "@")
			name, tag, _ := oci.SplitTag(ref)
			if i == 0 && oci.IsName(name) { // any other name is not valid in a registry, and may not be a title
				title, version = name, tag
			}
			refs = append(refs, reference{name, tag})
		}
		f.add(title, version, finished.Image{Path: o.Path, File: file, Image: &image}, refs...)
	}
	return nil
}

// readyKind is a kind of file with finished images.
type readyKind uint8

const (
	notReady readyKind = iota
	dockerArchive
	ociLayout
)

// recognise finds by content whether an image file has finished images, and returns their store path. A file outside of the
// store gets a path in the store of host files.
func (m *fileReader) recognise(ctx context.Context, file string) (p store.Path, rest string, kind readyKind) {
	place, err := m.places.of(file)
	if err != nil || place.outside() {
		return "", "", notReady // the next read of the file returns the error
	}
	p, rest, err = store.ParseAbs(place.name)
	outside := err != nil
	if outside {
		if !place.mayBeReady() {
			return "", "", notReady
		}
		abs, err := filepath.Abs(place.name)
		if err != nil {
			return "", "", notReady
		}
		if p, err = m.env.Host.Add(abs); err != nil {
			m.log.Warn("image file is left out", "file", file, "error", err)
			return "", "", notReady
		}
		rest = ""
	}
	at, nd, err := store.Resolve(ctx, m.env.Store, p.Abs()+"/"+rest)
	if err != nil {
		return "", "", notReady
	}
	if nd.Kind == store.Directory {
		layout, err := finished.IsLayout(ctx, m.env.Store, at, nd.Name)
		if !outside && (err != nil || !layout) { // outside of the store it is a layout: a link in it may lead out of it
			return "", "", notReady
		}
		return p, rest, ociLayout
	}
	head, err := store.ReadNode(ctx, m.env.Store, at, nd, min(nd.Size, finished.TarBlock))
	if err != nil || !finished.StartsArchive(head) {
		return "", "", notReady
	}
	return p, rest, dockerArchive
}

// mayBeReady reports whether the first bytes of a file below --images are those of a finished image.
func (p imagePlace) mayBeReady() bool {
	if info, err := os.Lstat(p.real); err == nil && info.IsDir() {
		return finished.IsLayoutDirectory(p.real)
	}
	f, _, err := p.open()
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, finished.TarBlock)
	n, err := io.ReadFull(f, head)
	return (err == nil || errors.Is(err, io.ErrUnexpectedEOF)) && finished.StartsArchive(head[:n])
}
