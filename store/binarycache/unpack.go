package binarycache

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"

	"github.com/nixreg/nixreg/store"
)

// unpack fetches the archive of n and writes it to w, and has verified size and hash of both its forms, and the content
// address where that is why the path is valid, when it returns nil. No more than n.object.NarSize bytes are written.
// Every error of what was fetched names the archive.
func (s *Store) unpack(ctx context.Context, n *narinfo, w io.Writer) error {
	err := s.stream(ctx, n, w)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrCorrupt) || errors.Is(err, errors.ErrUnsupported) {
		s.index.forget(ctx, n.object.Path.Hash()) // no signature covers URL, compression and hash of the file: they may be others by now
	}
	return err
}

func (s *Store) stream(ctx context.Context, n *narinfo, w io.Writer) error {
	if n.object.NarSize > s.maxNAR {
		return fmt.Errorf("archive of %d bytes, at most %d are allowed: %w", n.object.NarSize, s.maxNAR, store.ErrTooLarge)
	}
	src, err := s.source.Open(ctx, n.url)
	if err != nil {
		return fmt.Errorf("fetch archive: %w", err) // which says what, and where
	}
	defer src.Close()
	stored := &measured{r: src, hash: sha256.New(), left: n.storedLimit()}
	err = n.copy(ctx, w, stored)
	if stored.err != nil { // not what the decompressor makes of it
		err = stored.err
	}
	switch {
	case err == nil:
		return nil
	case err == stored.err && !errors.Is(err, ErrCorrupt):
		return fmt.Errorf("fetch archive: %w", err)
	}
	return fmt.Errorf("%s: %w", n.url, err)
}

// copy decompresses and verifies what is stored.
func (n *narinfo) copy(ctx context.Context, w io.Writer, stored *measured) error {
	content, whole := n.contentCheck(), sha256.New()
	size, err := n.decompress(ctx, io.MultiWriter(whole, content, w), stored)
	if err != nil {
		return err
	}
	if err := n.verify(stored, size, store.Hash(whole.Sum(nil))); err != nil {
		return err
	}
	return content.verify()
}

// storedLimit is the number of bytes the stored archive may have at most.
func (n *narinfo) storedLimit() int64 {
	limit := n.object.NarSize + n.object.NarSize/8 + 64<<10 // compression makes nothing that much larger
	if n.fileSize > 0 {
		return min(n.fileSize, limit)
	}
	return limit
}

// decompress returns the number of bytes of the unpacked archive; that is more than it wrote if there were too many.
// Reading and writing overlap. When it returns nothing reads of stored or writes to w any more.
func (n *narinfo) decompress(ctx context.Context, w io.Writer, stored *measured) (size int64, err error) {
	p := newPipe(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		size, err = n.read(p, stored)
		close(p.full)
	}()
	werr := p.drain(w)
	<-done
	if werr != nil { // why reading ended, too
		return size, werr
	}
	return size, err
}

// read decompresses into p. A decompressor that trips over bytes from outside must not end the program.
func (n *narinfo) read(p *pipe, stored *measured) (size int64, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = corrupt("%s: decompressor panics: %v", n.compression, v)
		}
	}()
	r, err := n.compression.Open(stored, n.object.NarSize)
	if err != nil {
		return 0, n.undecodable(err)
	}
	defer r.Close()
	size, rerr, werr := p.fill(io.LimitReader(r, n.object.NarSize))
	if werr != nil {
		return size, werr
	}
	if rerr == nil {
		var more int64
		more, rerr = io.CopyN(io.Discard, r, 1)
		size += more
	}
	if rerr != nil && rerr != io.EOF {
		return size, n.undecodable(rerr)
	}
	return size, nil
}

func (n *narinfo) undecodable(err error) error { return corrupt("%s: %v", n.compression, err) }

// verify compares what was read with what the narinfo says.
func (n *narinfo) verify(stored *measured, size int64, got store.Hash) error {
	want := &n.object
	if size > want.NarSize {
		return corrupt("archive is larger than %d bytes, its NarSize", want.NarSize)
	}
	if size != want.NarSize {
		return corrupt("archive has %d bytes, NarSize is %d", size, want.NarSize)
	}
	if got != want.NarHash {
		return corrupt("archive has hash %s, NarHash is %s", got, want.NarHash)
	}
	if n.fileSize > 0 && stored.size != n.fileSize {
		return corrupt("file has %d bytes, FileSize is %d", stored.size, n.fileSize)
	}
	if got := store.Hash(stored.hash.Sum(nil)); n.fileHash != (store.Hash{}) && got != n.fileHash {
		return corrupt("file has hash %s, FileHash is %s", got, n.fileHash)
	}
	return nil
}

// measured hashes and counts what is read of r, and fails once more than left bytes come.
type measured struct {
	r    io.Reader
	hash hash.Hash
	left int64
	size int64
	err  error // of r or the limit
}

func (m *measured) Read(b []byte) (int, error) {
	if m.err != nil {
		return 0, m.err
	}
	n, err := m.r.Read(b)
	m.hash.Write(b[:n])
	m.size += int64(n)
	m.left -= int64(n)
	if m.left < 0 {
		err = corrupt("file is larger than it may be")
	}
	if err != nil && err != io.EOF {
		m.err = err
	}
	return n, err
}

// contextReader fails when ctx, that of the work it belongs to, ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}
