// Package dockerarchive writes an image as the tar archive that docker load takes, byte for byte as skopeo 1.9.3 does.
//
// It owns the layout of the archive. It must not know registries, compression, files, nor the source of a layer.
//
//	err := dockerarchive.Write(ctx, w, dockerarchive.Image{Name: "docker.io/library/hello", Tag: "latest", Config: config, Layers: layers})
//
// The layout is that of skopeo 1.9.3 (containers/image 5.22.0, transport docker-archive), found by experiment. It never
// changes, because Nix expressions hold the hashes of such archives. Members, in this order:
//
//	DIFFID.tar        each layer, uncompressed, in the order of the image; a repeated layer once
//	CONFIG.json       the configuration, its bytes unchanged; CONFIG is their SHA-256
//	ID/layer.tar      for each layer of the image, repeated or not: a symlink to ../DIFFID.tar
//	ID/VERSION        "1.0"
//	ID/json           the layer in Docker's first image format, see legacy.go
//	manifest.json     [{"Config":"CONFIG.json","RepoTags":["NAME:TAG"],"Layers":["DIFFID.tar",…]}]
//	repositories      {"NAME":{"TAG":"ID of the last layer"}}, or {} if there are no layers
//
// DIFFID, CONFIG and ID are hex digits. Files have mode 0444, symlinks mode 0. Owner and group are 0 without names, times
// are 0. There are no directories. Headers are ustar, and PAX for a layer of 8 GiB or more. The archive ends with two blocks of
// zeros. JSON is the output of encoding/json: sorted keys of maps, no spaces, and <, >, & escaped as \u003c and so on, also in
// the values copied from the configuration.
package dockerarchive

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Image is the content of an archive.
type Image struct {
	// Name is the image's full name, such as docker.io/library/nginx. Neither Name nor Tag may be empty.
	Name, Tag string
	// Config holds the bytes of the configuration, a JSON object.
	Config []byte
	Layers []Layer // bottom first; may be empty
}

// Layer is one uncompressed layer.
type Layer struct {
	DiffID v1.Hash // SHA-256 of the bytes; the caller has verified it
	Size   int64   // in bytes
	// Open returns the bytes. Write closes the reader. Write calls Open once for each DiffID.
	Open func() (io.ReadCloser, error)
}

// Write writes the archive to w. The caller closes w. Layers are not kept in memory. Write stops when ctx ends. The error
// matches [fs.ErrInvalid] if the configuration is not a JSON object, the image has no name, or a layer has more or fewer bytes
// than its Size.
func Write(ctx context.Context, w io.Writer, img Image) error {
	a := &archive{ctx: ctx, tar: tar.NewWriter(w)}
	if err := a.write(img); err != nil {
		return fmt.Errorf("docker archive: %w", err)
	}
	return nil
}

type archive struct {
	ctx context.Context
	tar *tar.Writer
}

func (a *archive) write(img Image) error {
	if img.Name == "" || img.Tag == "" {
		return fmt.Errorf("name %q, tag %q: %w", img.Name, img.Tag, fs.ErrInvalid)
	}
	diffIDs := make([]v1.Hash, len(img.Layers))
	for i, l := range img.Layers {
		diffIDs[i] = l.DiffID
	}
	legacy, err := legacyLayers(img.Config, diffIDs) // before the first byte is written, because it checks the configuration
	if err != nil {
		return err
	}
	if err := a.layers(img.Layers); err != nil {
		return err
	}
	config := fmt.Sprintf("%x.json", sha256.Sum256(img.Config))
	if err := a.bytes(config, img.Config); err != nil {
		return err
	}
	for _, l := range legacy {
		if err := a.legacy(l); err != nil {
			return err
		}
	}
	if err := a.index(img, config, legacy); err != nil {
		return err
	}
	return a.tar.Close()
}

// layers writes each layer once, at its first place.
func (a *archive) layers(layers []Layer) error {
	seen := make(map[v1.Hash]bool)
	for i, l := range layers {
		if seen[l.DiffID] {
			continue
		}
		seen[l.DiffID] = true
		if err := a.layer(l); err != nil {
			return fmt.Errorf("layer %d of %d (%s): %w", i+1, len(layers), l.DiffID, err)
		}
	}
	return nil
}

func (a *archive) layer(l Layer) error {
	r, err := l.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	return a.file(layerFile(l.DiffID), l.Size, r)
}

func (a *archive) legacy(l legacyLayer) error {
	h := tar.Header{Typeflag: tar.TypeSymlink, Name: l.id + "/layer.tar", Linkname: "../" + layerFile(l.diffID), ModTime: time.Unix(0, 0)}
	if err := a.tar.WriteHeader(&h); err != nil {
		return err
	}
	if err := a.bytes(l.id+"/VERSION", []byte("1.0")); err != nil {
		return err
	}
	return a.bytes(l.id+"/json", l.json)
}

// index writes manifest.json and repositories.
func (a *archive) index(img Image, config string, legacy []legacyLayer) error {
	item := struct {
		Config   string
		RepoTags []string
		Layers   []string
	}{config, []string{img.Name + ":" + img.Tag}, make([]string, len(img.Layers))}
	for i, l := range img.Layers {
		item.Layers[i] = layerFile(l.DiffID)
	}
	b, err := json.Marshal([]any{item})
	if err != nil {
		return err
	}
	if err := a.bytes("manifest.json", b); err != nil {
		return err
	}
	repositories := map[string]map[string]string{}
	if len(legacy) > 0 {
		repositories[img.Name] = map[string]string{img.Tag: legacy[len(legacy)-1].id}
	}
	if b, err = json.Marshal(repositories); err != nil {
		return err
	}
	return a.bytes("repositories", b)
}

func (a *archive) bytes(name string, b []byte) error {
	return a.file(name, int64(len(b)), bytes.NewReader(b))
}

func (a *archive) file(name string, size int64, r io.Reader) error {
	h := tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o444, ModTime: time.Unix(0, 0)}
	if err := a.tar.WriteHeader(&h); err != nil {
		return err
	}
	// One byte more than size is enough to know that there are too many.
	n, err := io.Copy(a.tar, &ended{ctx: a.ctx, r: io.LimitReader(r, size)})
	if err != nil {
		return err
	}
	if more, _ := io.CopyN(io.Discard, r, 1); n != size || more != 0 {
		return fmt.Errorf("does not have %d bytes: %w", size, fs.ErrInvalid)
	}
	return nil
}

// ended is a reader that fails after ctx has ended.
type ended struct {
	ctx context.Context
	r   io.Reader
}

func (e *ended) Read(p []byte) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	return e.r.Read(p)
}

// layerFile is the member of a layer.
func layerFile(d v1.Hash) string { return d.Hex + ".tar" }
