package gunzip

import "io"

// Mark builds an index as if a file of so many bytes had a block every so many bytes.
func Mark(x *Index, total, every int64) {
	f := newInflater(nil)
	f.write = windowSize
	for off := int64(0); off < total; off += every {
		x.mark(f, off)
	}
}

// Inflate decodes a deflate stream alone, up to most bytes.
func Inflate(r io.Reader, most int) ([]byte, error) {
	f := newInflater(r)
	var out []byte
	for f.state != streamEnded && len(out) < most {
		f.slide()
		err := f.step()
		out = append(out, f.out[f.read:f.write]...)
		f.read = f.write
		if err != nil {
			return out, err
		}
	}
	return out, nil
}
