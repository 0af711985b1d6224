package manifest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

const (
	// maxBaseDocument bounds a document in an image that was made elsewhere, in bytes.
	maxBaseDocument = 8 << 20
	// maxArchiveImages bounds how many images an archive may hold.
	maxArchiveImages = 1000
)

// archiveImage is one image of a docker-archive: the names of members.
//
// Source: Docker, image/spec/v1.2.md, "Combined Image JSON + Filesystem Changeset Format".
type archiveImage struct {
	Config   string
	RepoTags []string `json:",omitempty"`
	Layers   []string
}

// archiveList is the member that lists them.
const archiveList = "manifest.json"

// notDocker says what an archive is whose list cannot be read, if it is one of another kind.
func notDocker(a *layer.Archive, err error) error {
	has := func(name string) bool {
		_, err := a.Recipe(name)
		return err == nil
	}
	switch {
	case has(archiveList):
	case has(oci.LayoutFile):
		return fmt.Errorf("an OCI layout in an archive is not served: unpack it into a directory: %w", errors.ErrUnsupported)
	case has("repositories"):
		return fmt.Errorf("no %s, as Docker wrote archives before 1.10: load it and save it again: %w", archiveList, errors.ErrUnsupported)
	}
	return err
}

// archiveImages lists the images of an archive; there is at least one.
func archiveImages(ctx context.Context, a *layer.Archive) ([]archiveImage, error) {
	b, err := a.Read(ctx, archiveList, maxBaseDocument)
	if err != nil {
		return nil, notDocker(a, err)
	}
	var images []archiveImage
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

// open reads the config of an image, and finds its layers.
func (m *archiveImage) open(ctx context.Context, a *layer.Archive) (*Base, error) {
	config, err := a.Read(ctx, m.Config, maxBaseDocument)
	if err != nil {
		return nil, err
	}
	ids, err := diffIDs(config)
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

func diffIDs(config []byte) ([]v1.Hash, error) {
	var doc struct {
		RootFS struct {
			DiffIDs []v1.Hash `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(config, &doc); err != nil {
		return nil, fmt.Errorf("config: %w: %w", err, fs.ErrInvalid)
	}
	return doc.RootFS.DiffIDs, nil
}

// draftArchive takes an image of a docker-archive as it is: its config stays byte for byte, and so do its layers.
func (s *Source) draftArchive(ctx context.Context, r *ready, o *store.Object) (*draft, error) {
	a, err := s.layers.Archive(ctx, o, r.File)
	if err != nil {
		return nil, err
	}
	base, err := r.Image.open(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", path.Join(string(o.Path), r.File), err)
	}
	b, err := draftReady(base.Config)
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", path.Join(string(o.Path), r.File), err)
	}
	for _, l := range base.Layers {
		b.layers = append(b.layers, draftLayer{recipe: l.Recipe, contents: []string{l.Name}, want: l.DiffID, size: l.Size})
	}
	return b, nil
}

// draftReady is an image with a config that is not to be touched.
func draftReady(config []byte) (*draft, error) {
	about, err := describeConfig(config)
	if err != nil {
		return nil, err
	}
	b := &draft{document: config}
	b.image.OS, b.image.Ready = about.OS, true
	b.image.Command, b.image.Env = about.command(), about.Config.Env
	b.config.Architecture, b.config.Variant = about.Architecture, about.Variant
	if len(b.image.Command) == 0 {
		b.image.CommandNote = "the image's config has neither Entrypoint nor Cmd"
	}
	return b, nil
}

// configDocument is what is told of a config that was made elsewhere.
type configDocument struct {
	OS, Architecture, Variant string
	Config                    struct{ Entrypoint, Cmd, Env wordList }
}

// wordList is a list of strings. Some builders write a single one without the list; what is neither counts as none, as the
// config is served as it is in any case.
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

func describeConfig(config []byte) (*configDocument, error) {
	about := new(configDocument)
	if err := json.Unmarshal(config, about); err != nil {
		return nil, fmt.Errorf("config: %w: %w", err, fs.ErrInvalid)
	}
	return about, nil
}

func (c *configDocument) command() []string {
	return append(append([]string(nil), c.Config.Entrypoint...), c.Config.Cmd...)
}
