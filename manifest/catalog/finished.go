package catalog

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/manifest/draft"
	"github.com/nixreg/nixreg/manifest/fault"
	"github.com/nixreg/nixreg/manifest/finished"
	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/store"
)

// readyFile is an image file that holds such images.
type readyFile struct {
	repository string
	images     []readyImage
	byTag      map[string]*draft.Definition
}

type readyImage struct {
	tags       []string
	definition *draft.Definition
}

// add adds an image. Of the tags those count that can be asked for, and that no image before has.
func (f *readyFile) add(title, version string, r finished.Image, tags ...string) {
	m := readyImage{definition: &draft.Definition{Title: title, Version: version, Kind: draft.Finished(r)}}
	if f.byTag == nil {
		f.byTag = make(map[string]*draft.Definition)
	}
	for _, tag := range tags {
		if tag != "" && packages.TagName(tag) == tag && f.byTag[tag] == nil {
			f.byTag[tag] = m.definition
			m.tags = append(m.tags, tag)
		}
	}
	f.images = append(f.images, m)
}

// tagged finds the image of a tag: an only image is latest, too.
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

// tags are sorted by bytes.
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

// newest are up to n tags, one of each image. What was added last to a layout stands last in its index; of no image it is
// known otherwise when it was made. A nil file has none.
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

// addLayoutImages adds what a layout's index lists. Names may be whole references. Several manifests without names, each
// for a platform, are one image, whose index the layout's own is.
func addLayoutImages(ctx context.Context, s store.Store, f *readyFile, o *store.Object, dir string) error {
	b, list, err := finished.ReadLayoutIndex(ctx, s, o, dir)
	if err != nil {
		return err
	}
	if finished.ArePlatforms(list) {
		f.add("", "", *finished.IndexedLayout(o, dir, b))
		return nil
	}
	for _, d := range list {
		tag := d.Annotations[oci.RefName]
		if strings.ContainsAny(tag, ":/") {
			tag, _, _ = strings.Cut(tag, "@")
			_, tag, _ = oci.SplitTag(tag)
		}
		root := v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, Platform: d.Platform}
		f.add("", "", finished.Image{Path: o.Path, File: dir, Root: &root}, tag)
	}
	return nil
}

// ready reads an image file that holds finished images; nil, if it is of another kind or leads nowhere.
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
	return f, nil
}

func (m *fileReader) readInto(ctx context.Context, f *readyFile, kind readyKind, o *store.Object, file string) error {
	if kind == ociLayout {
		return addLayoutImages(ctx, m.env.Store, f, o, file)
	}
	a, err := m.env.Layers.Archive(ctx, o, file)
	if err != nil {
		return err
	}
	list, err := finished.ArchiveImages(ctx, a)
	if err != nil {
		return err
	}
	for _, image := range list {
		var title, version string
		var tags []string
		for i, ref := range image.RepoTags {
			ref, _, _ = strings.Cut(ref, "@")
			name, tag, _ := oci.SplitTag(ref)
			if i == 0 && oci.IsName(name) { // else a manifest's title would have what no registry takes
				title, version = name, tag
			}
			tags = append(tags, tag)
		}
		f.add(title, version, finished.Image{Path: o.Path, File: file, Image: &image}, tags...)
	}
	return nil
}

// readyKind is a kind of finished image.
type readyKind uint8

const (
	notReady readyKind = iota
	dockerArchive
	ociLayout
)

// recognise finds by content whether an image file holds finished images, and where they lie. A file outside of the
// store becomes a path of the store of files by it.
func (m *fileReader) recognise(ctx context.Context, file string) (p store.Path, rest string, kind readyKind) {
	place, err := m.places.of(file)
	if err != nil || place.outside() {
		return "", "", notReady // whoever reads it next tells why
	}
	p, rest, err = store.ParseAbs(place.name)
	loose := err != nil
	if loose {
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
		if !loose && (err != nil || !layout) { // outside the store it is one: a link may lead out of it
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

// mayBeReady reports whether a file below --images is worth a closer look.
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
