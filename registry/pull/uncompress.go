package pull

import (
	"bufio"
	"bytes"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow is how far back a zstd layer may refer, and so about what its decompression may keep in memory: what
// zstd --long makes, and the format's own tools take. With parallel layers at the same time that is 513 MiB at most; what
// is usual is 8 MiB for each. No frame says what the next one needs, so that they cannot take turns by what they need.
const maxWindow = 128 << 20

// uncompress copies a layer to w as the tar it is made of. Whether it is compressed, and how, is seen in its first
// bytes, as skopeo does it, for media types are known to be wrong.
func uncompress(w io.Writer, layer io.Reader) error {
	r := bufio.NewReaderSize(layer, 64<<10)
	magic, err := r.Peek(6)
	if err != nil && err != io.EOF {
		return err
	}
	starts := func(s string) bool { return bytes.HasPrefix(magic, []byte(s)) }
	switch {
	case starts("\x1f\x8b\x08"):
		return gunzip(w, r)
	case starts("\x28\xb5\x2f\xfd"):
		return unzstd(w, r)
	case starts("BZh"), starts("\xfd7zXZ\x00"):
		return unsupported("is compressed with bzip2 or xz, which are no encodings of layers")
	}
	_, err = io.Copy(w, r)
	return err
}

// gunzip takes all members of the file, as layers of some builders have several.
func gunzip(w io.Writer, r io.Reader) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return corrupt("gzip: %w", err)
	}
	_, err = io.Copy(w, &decoder{"gzip", z})
	return err
}

func unzstd(w io.Writer, r io.Reader) error {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return corrupt("zstd: %w", err)
	}
	defer z.Close()
	_, err = io.Copy(w, &decoder{"zstd", z})
	return err
}

// decoder tells errors of decompression from those of writing.
type decoder struct {
	name string
	r    io.Reader
}

func (d *decoder) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	if err != nil && err != io.EOF {
		err = corrupt("%s: %w", d.name, err)
	}
	return n, err
}
