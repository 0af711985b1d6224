package export

import (
	"context"
	"crypto/rand"
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

	"github.com/nixreg/nixreg/internal/oci"
)

const (
	layoutVersion = "1.0.0" // OCI image-spec 1.1, image-layout.md
	maxIndex      = 8 << 20 // bytes of an index.json
)

// WriteLayout puts the image into an OCI layout, under a name of the layout's index unless that is "". The directory may
// be there or not; what has other files and is no layout gives an error matching [fs.ErrInvalid]. An image of the same
// name is replaced, its blobs stay. What is [Image.Missing] is left out. Blobs that are there are not written again. Every
// file gets its name when it is complete and on the disk, index.json last; after an error, files that are new are removed.
// Of several that write to one layout, in whatever processes, each waits for the one before.
func (img *Image) WriteLayout(ctx context.Context, dir, name string, progress Progress) (err error) {
	if name != "" && !oci.IsRefName(name) {
		return invalid("name %.300q in an oci layout", name)
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

// layout is one that is being written to.
type layout struct {
	dir        string
	claimed    *os.File // nil: not yet
	repository Repository
	meter      *meter
	seen       map[v1.Hash]bool
	made       []string // what is new, the parent before what is in it
}

// open makes the directories and returns index.json, nil if there is none.
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

// existing checks that a directory is a layout, and returns its index.json.
func (l *layout) existing() ([]byte, error) {
	b, err := readFile(filepath.Join(l.dir, oci.LayoutFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, invalid("has other files, and is no layout")
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

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxIndex+1))
	if err == nil && len(b) > maxIndex {
		return nil, fmt.Errorf("%s: more than %d bytes: %w", name, maxIndex, fs.ErrInvalid)
	}
	return b, err
}

// document writes a document's blobs, and the document.
func (l *layout) document(ctx context.Context, d *document) error {
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

// blob writes what is not there, and verifies it.
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
			return invalid("blob %s has the bytes of sha256:%s", d.Digest, got)
		}
		return nil
	})
}

// write makes or replaces a file, under its name when it is complete.
func (l *layout) write(name string, write func(io.Writer) error) (err error) {
	temp := filepath.Join(l.dir, tempName+rand.Text())
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666) // less the umask, as any file of the user's
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			err = errors.Join(err, os.Remove(temp))
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	name = filepath.Join(l.dir, name)
	if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		l.made = append(l.made, name)
	}
	return os.Rename(temp, name)
}

func (l *layout) mkdir(name string) error {
	name = filepath.Join(l.dir, name)
	switch err := os.Mkdir(name, 0o777); {
	case err == nil:
		l.made = append(l.made, name)
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	return nil
}

// release lets the next one write.
func (l *layout) release() error {
	if l.claimed == nil {
		return nil
	}
	return l.claimed.Close()
}

// undo removes what is new. A directory that has something else meanwhile stays.
func (l *layout) undo() error {
	var errs []error
	for _, name := range slices.Backward(l.made) {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// addToIndex returns an index.json with an image more, in the place of one of the same name, or of a nameless one of the
// same digest. What else there is stays as it is; nil is no index.
func addToIndex(index []byte, d v1.Descriptor, name string) ([]byte, error) {
	doc := map[string]json.RawMessage{"schemaVersion": []byte("2"), "mediaType": []byte(`"` + types.OCIImageIndex + `"`)}
	var list []json.RawMessage
	if index != nil {
		doc = nil
		if err := json.Unmarshal(index, &doc); err != nil {
			return nil, fmt.Errorf("%s: %w: %w", oci.IndexFile, err, fs.ErrInvalid)
		}
		if doc == nil {
			return nil, invalid("%s: want an object", oci.IndexFile)
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
		return replaced(old, d, name)
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

func replaced(old, d v1.Descriptor, name string) bool {
	had := old.Annotations[oci.RefName]
	return had != "" && had == name || had == "" && old.Digest == d.Digest
}
