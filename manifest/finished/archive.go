package finished

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/layer"
)

const (
	// maxBaseDocument bounds a document in an image that was made elsewhere, in bytes.
	MaxBaseDocument = 8 << 20
	// maxArchiveImages bounds the number of images in an archive.
	maxArchiveImages = 1000
)

// ArchiveImage is one image of a docker-archive: the names of members.
//
// Source: Docker, image/spec/v1.2.md, "Combined Image JSON + Filesystem Changeset Format".
type ArchiveImage struct {
	Config   string
	RepoTags []string `json:",omitempty"`
	Layers   []string
}

// archiveList is the member that lists the images.
const archiveList = "manifest.json"

// notDocker names the kind of an archive that has no list. For other errors it returns err.
func notDocker(a *layer.Archive, err error) error {
	has := func(name string) bool {
		_, err := a.Recipe(name)
		return err == nil
	}
	switch {
	case has(archiveList):
	case has("repositories"):
		return fmt.Errorf("no %s, as Docker wrote archives before 1.10: load it and save it again: %w", archiveList, errors.ErrUnsupported)
	}
	for _, name := range []string{"etc/passwd", "etc/os-release", "usr/lib/os-release", "bin/sh", "usr/bin/env", "bin/busybox", "etc/hostname"} {
		if has(name) {
			return fmt.Errorf("no %s, but %s: that is a root file system, and no image: import it with docker import, and save that: %w", archiveList, name, errors.ErrUnsupported)
		}
	}
	return fmt.Errorf("no %s or %s: neither a docker-archive nor an OCI layout: %w", archiveList, oci.LayoutFile, err)
}

// ArchiveImages returns the images of an archive, at least one.
func ArchiveImages(ctx context.Context, a *layer.Archive) ([]ArchiveImage, error) {
	b, err := a.Read(ctx, archiveList, MaxBaseDocument)
	if err != nil {
		return nil, notDocker(a, err)
	}
	var images []ArchiveImage
	if err := json.Unmarshal(b, &images); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", archiveList, err, fs.ErrInvalid)
	}
	if len(images) == 0 {
		return nil, fmt.Errorf("%s lists no image: %w", archiveList, fs.ErrInvalid)
	}
	if len(images) > maxArchiveImages {
		return nil, fmt.Errorf("%s lists %d images: %w", archiveList, len(images), errors.ErrUnsupported)
	}
	for _, m := range images {
		if len(m.Layers) > dockertools.MaxLayersOfConf {
			return nil, fmt.Errorf("%d layers: %w", len(m.Layers), errors.ErrUnsupported)
		}
	}
	return images, nil
}

// Open reads the config of an image and finds its layers.
func (m *ArchiveImage) Open(ctx context.Context, a *layer.Archive) (*Base, error) {
	config, err := a.Read(ctx, m.Config, MaxBaseDocument)
	if err != nil {
		return nil, err
	}
	ids, err := document.DiffIDs(config)
	if err != nil {
		return nil, err
	}
	if len(m.Layers) != len(ids) {
		return nil, fmt.Errorf("%d layers, but %d diff_ids: %w", len(m.Layers), len(ids), fs.ErrInvalid)
	}
	base := &Base{Config: config}
	for i, name := range m.Layers {
		r, err := a.Recipe(name)
		if err != nil {
			return nil, err
		}
		base.Layers = append(base.Layers, BaseLayer{Recipe: r, Name: name, DiffID: ids[i], Size: r.Size})
	}
	return base, nil
}

// Config is the part of a finished image's config that reports show.
type Config struct {
	OS, Architecture, Variant string
	Config                    struct{ Entrypoint, Cmd, Env wordList }

	Raw json.RawMessage `json:"-"` // Config as it is
}

// wordList is a list of strings. Some builders write a single string. Any other value counts as no string, because the config
// is served as it is in any case.
type wordList []string

func (w *wordList) UnmarshalJSON(b []byte) error {
	var list []string
	if json.Unmarshal(b, &list) == nil {
		*w = list
		return nil
	}
	var one string
	if json.Unmarshal(b, &one) == nil {
		*w = wordList{one}
	}
	return nil
}

func ReadConfig(config []byte) (*Config, error) {
	about := new(Config)
	var raw struct{ Config json.RawMessage }
	if err := errors.Join(json.Unmarshal(config, about), json.Unmarshal(config, &raw)); err != nil {
		return nil, fmt.Errorf("config: %w: %w", err, fs.ErrInvalid)
	}
	about.Raw = raw.Config
	return about, nil
}

func (c *Config) Command() []string {
	return append(append([]string(nil), c.Config.Entrypoint...), c.Config.Cmd...)
}
