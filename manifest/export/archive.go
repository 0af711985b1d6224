package export

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf16"
	"unicode/utf8"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/internal/errkind"
	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/layer"
)

// writeBuffer is the number of bytes of one write.
const writeBuffer = 256 << 10

// Notes hold the facts of a docker-archive that the image does not state.
type Notes struct {
	RepoTags []string
	MTime    int64 // time of all members, Unix seconds
	// Layers are the headers of the layers' members, bottom first, without sizes. A header without a name gets the name
	// DIFFID/layer.tar, and its layer is written uncompressed. The layer of a header with a name is written as the
	// repository has it, compressed or not. nil means mode 0644 and owner 0 without a name for every layer.
	Layers []layer.Header
}

// member is one file of an archive. write writes its bytes.
type member struct {
	header layer.Header
	write  func(ctx context.Context, w io.Writer) error
}

// WriteArchive writes the image as a docker-archive to w. The caller closes w. For an index the error matches
// errors.ErrUnsupported. For an image whose config does not list its layers it matches [fs.ErrInvalid].
//
// The members are the layers, the config and manifest.json, in this order. The bytes are the same as those of nixpkgs'
// stream_layered_image.py, which uses Python's tarfile and json.dumps(indent=4): layers are uncompressed, and a repeated
// layer is written again.
//
// Source: nixpkgs pkgs/build-support/docker/stream_layered_image.py, main.
func (img *Image) WriteArchive(ctx context.Context, w io.Writer, notes Notes, progress Progress) error {
	members, err := img.members(ctx, notes)
	if err != nil {
		return fmt.Errorf("docker archive: %w", err)
	}
	total := int64(0)
	for _, m := range members {
		total += m.header.Size
	}
	a := &archive{w: bufio.NewWriterSize(w, writeBuffer), meter: newMeter(progress, total)}
	for _, m := range members {
		if err := a.member(ctx, m); err != nil {
			return fmt.Errorf("docker archive: %s: %w", m.header.Name, err)
		}
	}
	if err := a.end(); err != nil {
		return fmt.Errorf("docker archive: %w", err)
	}
	return nil
}

func (img *Image) members(ctx context.Context, notes Notes) ([]member, error) {
	if img.top().manifest == nil {
		return nil, errkind.New(errors.ErrUnsupported, "holds one image, not an index of several")
	}
	config, err := img.config(ctx)
	if err != nil {
		return nil, err
	}
	ids, err := document.DiffIDs(config)
	if err != nil {
		return nil, err
	}
	layers := img.top().manifest.Layers
	if len(ids) != len(layers) || notes.Layers != nil && len(notes.Layers) != len(layers) {
		return nil, errkind.Invalid("config lists %d layers, the manifest %d", len(ids), len(layers))
	}
	var members []member
	names := make([]string, len(layers))
	for i, l := range layers {
		h := layer.Header{Mode: 0o644, MTime: notes.MTime}
		if notes.Layers != nil {
			h = notes.Layers[i]
		}
		m, err := img.layerMember(ctx, h, l, ids[i])
		if err != nil {
			return nil, fmt.Errorf("layer %d of %d (%s): %w", i+1, len(layers), l.Digest, err)
		}
		names[i] = m.header.Name
		members = append(members, m)
	}
	name := img.Config().Hex + ".json"
	return append(members,
		literal(name, config, notes.MTime),
		literal("manifest.json", archiveIndex(name, notes.RepoTags, names), notes.MTime)), nil
}

// layerMember returns the member of a layer. It unpacks a compressed layer once to learn its size.
func (img *Image) layerMember(ctx context.Context, h layer.Header, d v1.Descriptor, diffID v1.Hash) (member, error) {
	b, err := img.repository.Blob(ctx, d.Digest)
	if err != nil {
		return member{}, err
	}
	m := member{header: h, write: func(ctx context.Context, w io.Writer) error { return b.WriteRange(ctx, w, 0, b.Size()) }}
	m.header.Size = b.Size()
	if h.Name != "" {
		return m, nil
	}
	m.header.Name = diffID.Hex + "/layer.tar"
	if d.Digest == diffID {
		return m, nil
	}
	m.write = func(ctx context.Context, w io.Writer) error { return unpack(ctx, w, b) }
	m.header.Size, err = measure(ctx, b, diffID)
	return m, err
}

func literal(name string, b []byte, mtime int64) member {
	return member{
		header: layer.Header{Name: name, Mode: 0o644, MTime: mtime, Size: int64(len(b))},
		write: func(_ context.Context, w io.Writer) error {
			_, err := w.Write(b)
			return err
		},
	}
}

// archive is the archive that is being written.
type archive struct {
	w     *bufio.Writer
	n     int64 // bytes written
	meter *meter
}

func (a *archive) member(ctx context.Context, m member) error {
	if err := a.raw(m.header.Append(nil)); err != nil {
		return err
	}
	body := &counted{ctx: ctx, w: a.w, left: m.header.Size, meter: a.meter}
	if err := m.write(ctx, body); err != nil {
		return err
	}
	if body.left != 0 {
		return fmt.Errorf("%d bytes of %d are missing: %w", body.left, m.header.Size, io.ErrUnexpectedEOF)
	}
	a.n += m.header.Size
	return a.raw(make([]byte, layer.MemberEnd(m.header.Size)))
}

func (a *archive) raw(b []byte) error {
	n, err := a.w.Write(b)
	a.n += int64(n)
	return err
}

func (a *archive) end() error {
	if err := a.raw(make([]byte, layer.ArchiveEnd(a.n))); err != nil {
		return err
	}
	return a.w.Flush()
}

// archiveIndex returns manifest.json.
func archiveIndex(config string, repoTags, layers []string) []byte {
	if repoTags == nil {
		repoTags = []string{}
	}
	if layers == nil {
		layers = []string{}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "    ")
	doc := []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}{{config, repoTags, layers}}
	if err := enc.Encode(doc); err != nil {
		panic("export: manifest.json cannot be encoded: " + err.Error()) // strings can always be encoded
	}
	return ascii(bytes.TrimRight(b.Bytes(), "\n"))
}

// ascii escapes the characters that Python's json.dumps escapes and Go's encoder does not.
func ascii(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r < 0x7f {
			out = append(out, b[:n]...)
		} else {
			for _, unit := range utf16.AppendRune(nil, r) {
				out = fmt.Appendf(out, `\u%04x`, unit)
			}
		}
		b = b[n:]
	}
	return out
}
