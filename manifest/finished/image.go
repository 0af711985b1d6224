// Package finished reads images that other programs made: docker-archives and OCI layouts in a store.
//
// It owns their formats, and what of them is trusted: documents whose digests are verified. Layers are hashed elsewhere. It
// must not know the names of images, nor how they are served.
package finished

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

// Image is the place of a finished image. Either Image or Root is set. Its layers and documents are served as they are.
type Image struct {
	Path  store.Path
	File  string         // in the path; "" for the path itself
	Image *ArchiveImage  `json:",omitempty"` // of a docker-archive
	Root  *v1.Descriptor `json:",omitempty"` // of an OCI layout: a manifest or an index
	Index bool           `json:",omitempty"` // Root is the layout's index.json
	// Packed says that File is a tar with the layout in it.
	Packed bool `json:",omitempty"`
}

// IsLayoutDirectory reports whether a directory outside of the store is an OCI layout. It follows links: the blobs of a
// layout that is made of links are no images of a directory of images.
func IsLayoutDirectory(name string) bool {
	for _, base := range []string{oci.LayoutFile, oci.IndexFile} {
		if info, err := os.Stat(filepath.Join(name, base)); err != nil || !info.Mode().IsRegular() {
			return false
		}
	}
	return true
}

// TarBlock is the number of bytes by which an archive is recognised.
const TarBlock = 512

// StartsArchive reports whether head, the first [TarBlock] bytes of a file, is the start of an archive, compressed or not.
func StartsArchive(head []byte) bool {
	if packing, err := layer.CompressionOf(head); packing != "" || err != nil {
		return true
	}
	if len(head) < TarBlock {
		return false
	}
	_, err := tar.NewReader(bytes.NewReader(head)).Next()
	return err == nil || errors.Is(err, io.ErrUnexpectedEOF) // the header goes on in the next block
}
