package pull

import (
	"bufio"
	"bytes"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds the window of a zstd layer, and so the memory of its decoder. It is the window of zstd --long. Four layers
// take 513 MiB at most; usual windows are 8 MiB.
const maxWindow = 128 << 20

// uncompress writes the tar of a layer to w. Like skopeo, it tells the compression from the first bytes, because media types
// are often wrong.
func uncompress(w io.Writer, layer io.Reader) error {
	r := bufio.NewReaderSize(layer, 64<<10)
	magic, err := r.Peek(6)
	if err != nil && err != io.EOF {
		return err
	}
	starts := func(s string) bool { return bytes.HasPrefix(magic, []byte(s)) }
	switch {
	case starts("\x1f\x8b\x08"):
		z, err := gzip.NewReader(r) // reads all members of the file: some builders write several
		if err != nil {
			return corrupt("gzip: %w", err)
		}
		_, err = io.Copy(w, &decoder{"gzip", z})
		return err
	case starts("\x28\xb5\x2f\xfd"):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return corrupt("zstd: %w", err)
		}
		defer z.Close()
		_, err = io.Copy(w, &decoder{"zstd", z})
		return err
	case starts("BZh"), starts("\xfd7zXZ\x00"):
		return unsupported("is compressed with bzip2 or xz, which OCI does not allow")
	}
	_, err = io.Copy(w, r)
	return err
}

// decoder marks the errors of a decompressor as [ErrCorrupt].
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
