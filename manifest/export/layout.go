package export

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/internal/errkind"
	"github.com/nixreg/nixreg/internal/oci"
)

const layoutVersion = "1.0.0" // OCI image-spec 1.1, image-layout.md

// WriteLayout adds the image to the OCI layout in dir. The layout's index gets an entry with name, or one without a name if
// name is "". The entry replaces an entry of the same name; the blobs of the replaced image stay. WriteLayout makes dir if it
// is absent. If dir has other files and is no layout, the error matches [fs.ErrInvalid].
//
// Existing blobs are not written again, and the manifests in [Image.Missing] are skipped. Each file gets its name when it is
// complete and on the disk, index.json last. After an error the new files are removed. Exports to the same layout, also in
// other processes, run one after the other.
func (img *Image) WriteLayout(ctx context.Context, dir, name string, progress Progress) (err error) {
	if name != "" && !oci.IsRefName(name) {
		return errkind.Invalid("name %.300q in an oci layout", name)
	}
	l := &layout{dir: dir, repository: img.repository, meter: newMeter(progress, img.size()), seen: make(map[v1.Hash]bool)}
	defer func() {
		if err != nil {
			err = fmt.Errorf("oci layout %s: %w", dir, errors.Join(err, l.undo()))
		}
		err = errors.Join(err, l.release())
	}()
	index, err := l.open(ctx)
	if err != nil {
		return err
	}
	for _, d := range img.documents {
		if err := l.document(ctx, d); err != nil {
			return err
		}
	}
	if index, err = addToIndex(index, img.top().desc, name); err != nil {
		return err
	}
	return l.write(oci.IndexFile, func(w io.Writer) error {
		_, err := w.Write(index)
		return err
	})
}

// open makes the directories and returns index.json. It is nil if the file does not exist.
func (l *layout) open(ctx context.Context) (index []byte, err error) {
	if l.claimed, err = l.claim(ctx); err != nil {
		return nil, err
	}
	entries, err := l.sweep()
	if err != nil {
		return nil, err
	}
	isNew := len(entries) == 0
	if !isNew {
		if index, err = l.existing(); err != nil {
			return nil, err
		}
	}
	for _, dir := range []string{"blobs", "blobs/sha256"} {
		if err := l.mkdir(dir); err != nil {
			return nil, err
		}
	}
	if !isNew {
		return index, nil
	}
	return nil, l.write(oci.LayoutFile, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, `{"imageLayoutVersion":%q}`, layoutVersion)
		return err
	})
}

// existing checks that the directory is a layout, and returns its index.json.
func (l *layout) existing() ([]byte, error) {
	b, err := readFile(filepath.Join(l.dir, oci.LayoutFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errkind.Invalid("has other files, and is no layout")
	}
	if err != nil {
		return nil, err
	}
	var doc struct {
		Version string `json:"imageLayoutVersion"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", oci.LayoutFile, err, fs.ErrInvalid)
	}
	if doc.Version != layoutVersion {
		return nil, fmt.Errorf("version %.50q of layouts: %w", doc.Version, errors.ErrUnsupported)
	}
	index, err := readFile(filepath.Join(l.dir, oci.IndexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return index, err
}

// document writes the blobs of a document, and the document itself.
func (l *layout) document(ctx context.Context, d *entry) error {
	for _, desc := range d.blobs() {
		err := l.blob(desc, func(w io.Writer) error {
			b, err := l.repository.Blob(ctx, desc.Digest)
			if err != nil {
				return err
			}
			return b.WriteRange(ctx, &counted{ctx: ctx, w: w, left: desc.Size, meter: l.meter}, 0, b.Size())
		})
		if err != nil {
			return err
		}
	}
	return l.blob(d.desc, func(w io.Writer) error {
		_, err := (&counted{ctx: ctx, w: w, left: d.desc.Size, meter: l.meter}).Write(d.desc.Data)
		return err
	})
}

// blob writes a blob that is absent, and verifies its digest.
func (l *layout) blob(d v1.Descriptor, write func(io.Writer) error) error {
	if l.seen[d.Digest] {
		return nil
	}
	l.seen[d.Digest] = true
	name := filepath.Join("blobs", "sha256", d.Digest.Hex)
	if info, err := os.Lstat(filepath.Join(l.dir, name)); err == nil && info.Mode().IsRegular() && info.Size() == d.Size {
		l.meter.add(d.Size)
		return nil
	}
	return l.write(name, func(w io.Writer) error {
		h := sha256.New()
		if err := write(io.MultiWriter(w, h)); err != nil {
			return fmt.Errorf("blob %s: %w", d.Digest, err)
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != d.Digest.Hex {
			return errkind.Invalid("blob %s has the bytes of sha256:%s", d.Digest, got)
		}
		return nil
	})
}

// addToIndex returns index.json with an entry for d. The entry replaces one of the same name, or one without a name of the
// same digest. Everything else stays as it is. A nil index is a new one.
func addToIndex(index []byte, d v1.Descriptor, name string) ([]byte, error) {
	doc := map[string]json.RawMessage{"schemaVersion": []byte("2"), "mediaType": []byte(`"` + types.OCIImageIndex + `"`)}
	var list []json.RawMessage
	if index != nil {
		doc = nil
		if err := json.Unmarshal(index, &doc); err != nil {
			return nil, fmt.Errorf("%s: %w: %w", oci.IndexFile, err, fs.ErrInvalid)
		}
		if doc == nil {
			return nil, errkind.Invalid("%s: want an object", oci.IndexFile)
		}
		if m, ok := doc["manifests"]; ok {
			if err := json.Unmarshal(m, &list); err != nil {
				return nil, fmt.Errorf("%s: manifests: %w: %w", oci.IndexFile, err, fs.ErrInvalid)
			}
		}
	}
	var err error
	list = slices.DeleteFunc(list, func(b json.RawMessage) bool {
		var old v1.Descriptor
		err = errors.Join(err, json.Unmarshal(b, &old))
		had := old.Annotations[oci.RefName]
		return had != "" && had == name || had == "" && old.Digest == d.Digest
	})
	if err != nil {
		return nil, fmt.Errorf("%s: manifests: %w: %w", oci.IndexFile, err, fs.ErrInvalid)
	}
	entry := v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
	if name != "" {
		entry.Annotations = map[string]string{oci.RefName: name}
	}
	b, err := json.Marshal(entry)
	if err != nil {
		return nil, err
	}
	if doc["manifests"], err = json.Marshal(append(list, b)); err != nil {
		return nil, err
	}
	return json.Marshal(doc)
}
