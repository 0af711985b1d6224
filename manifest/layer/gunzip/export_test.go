package gunzip

// Mark builds an index as if a file of so many bytes had a block every so many bytes.
func Mark(x *Index, total, every int64) {
	f := newInflater(nil)
	f.write = windowSize
	for off := int64(0); off < total; off += every {
		x.mark(f, off)
	}
}
