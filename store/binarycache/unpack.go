package binarycache

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"

	"github.com/nixreg/nixreg/internal/fetch"
	"github.com/nixreg/nixreg/store"
)

// maxStarts bounds how often one archive is fetched from its beginning.
const maxStarts = 5

// unpack fetches the archive of n, decompresses it and writes it to w, at most n.object.NarSize bytes. If it returns nil, it has
// verified size and hash of the decompressed archive, and the content address if the path is valid because of it. Errors name the
// archive.
func (s *Store) unpack(ctx context.Context, n *narinfo, w io.Writer) error {
	err := s.stream(ctx, n, w)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrCorrupt) || errors.Is(err, errors.ErrUnsupported) {
		s.index.forget(ctx, n.object.Path.Hash()) // URL, compression and FileHash are not signed, and may have changed
	}
	return err
}

func (s *Store) stream(ctx context.Context, n *narinfo, w io.Writer) error {
	if n.object.NarSize > s.maxNAR {
		return fmt.Errorf("archive of %d bytes, at most %d are allowed: %w", n.object.NarSize, s.maxNAR, store.ErrTooLarge)
	}
	content, whole := n.contentCheck(), sha256.New()
	onward := &onward{w: io.MultiWriter(whole, content, w)}
	for try := 1; ; try++ {
		onward.again()
		size, err := s.fetch(ctx, n, onward)
		switch {
		case errors.Is(err, fetch.ErrChanged) && try < maxStarts:
			continue // the NarHash tells whether what comes now belongs to what came before
		case err != nil:
			return err
		}
		if err = cmp.Or(n.verify(size, store.Hash(whole.Sum(nil))), content.verify()); err != nil {
			return fmt.Errorf("%s: %w", n.url, err)
		}
		return nil
	}
}

// fetch fetches the archive from its beginning, decompresses it and writes it to w. It returns the decompressed size.
func (s *Store) fetch(ctx context.Context, n *narinfo, w io.Writer) (size int64, err error) {
	src, err := s.source.Open(ctx, n.url)
	if err != nil {
		return 0, fmt.Errorf("fetch archive: %w", err) // err names cache and file
	}
	defer src.Close()
	stored := &measured{r: src, hash: sha256.New(), left: n.storedLimit()}
	size, err = n.decompress(ctx, w, stored)
	switch {
	case stored.err != nil && !errors.Is(stored.err, ErrCorrupt): // the cause of the decompressor's error
		return size, fmt.Errorf("fetch archive: %w", stored.err)
	case cmp.Or(stored.err, err) != nil:
		return size, fmt.Errorf("%s: %w", n.url, cmp.Or(stored.err, err))
	}
	s.compareStored(n, stored)
	return size, nil
}

// compareStored warns once if a file is not the one that its narinfo describes: NarHash and NarSize are signed, FileHash and FileSize
// are not, and caches that compress archives anew leave them as they were.
func (s *Store) compareStored(n *narinfo, stored *measured) {
	if n.fileSize > 0 && stored.size != n.fileSize || n.fileHash != (store.Hash{}) && store.Hash(stored.hash.Sum(nil)) != n.fileHash {
		s.otherFile.Do(func() {
			s.log.Warn("the cache has other files than its narinfos describe with FileHash and FileSize: they are used if NarHash and NarSize are right", "file", n.url)
		})
	}
}

// onward writes what comes again after a new start only once.
type onward struct {
	w             io.Writer
	written, skip int64
}

func (o *onward) again() { o.skip = o.written }

func (o *onward) Write(p []byte) (int, error) {
	again := min(o.skip, int64(len(p)))
	o.skip -= again
	n, err := o.w.Write(p[again:])
	o.written += int64(n)
	return int(again) + n, err
}

// storedLimit is the greatest size of the stored archive, in bytes: no compression adds more to a NAR.
func (n *narinfo) storedLimit() int64 { return n.object.NarSize + n.object.NarSize/8 + 64<<10 }

// decompress returns the size of the decompressed archive. If the archive is too large, the size is more than the bytes written.
// Reading and writing overlap. After it returns, nothing reads stored or writes to w.
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
	if werr != nil { // the write error has ended the reading, too
		return size, werr
	}
	return size, err
}

// read decompresses into p. A panic of the decompressor is an error.
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

// verify compares sizes and hashes with the narinfo.
func (n *narinfo) verify(size int64, got store.Hash) error {
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
	return nil
}

// measured hashes and counts the bytes read from r, and fails after more than left bytes.
type measured struct {
	r    io.Reader
	hash hash.Hash
	left int64
	size int64
	err  error // of r, or for the limit
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

const (
	pipeBuffers = 4
	pipeBuffer  = 128 << 10 // bytes
)

// pipe passes the bytes of an archive from the goroutine that decompresses to the one that hashes and writes. It holds pipeBuffers
// buffers, so that both work at the same time.
type pipe struct {
	ctx  context.Context
	full chan []byte   // closed by the goroutine that fills
	free chan []byte   // whole buffers
	stop chan struct{} // closed by the goroutine that drains, after an error
}

func newPipe(ctx context.Context) *pipe {
	p := &pipe{ctx: ctx, full: make(chan []byte, pipeBuffers), free: make(chan []byte, pipeBuffers), stop: make(chan struct{})}
	for range pipeBuffers {
		p.free <- nil // allocated at the first use: most archives are small
	}
	return p
}

// fill sends the bytes of r. It returns their number, the error of r (nil at its end), and that of the other side.
func (p *pipe) fill(r io.Reader) (size int64, rerr, perr error) {
	for rerr == nil {
		var b []byte
		select {
		case b = <-p.free:
		case <-p.stop:
			return size, nil, io.ErrClosedPipe
		}
		if err := p.ctx.Err(); err != nil {
			return size, nil, err
		}
		if b == nil {
			b = make([]byte, pipeBuffer)
		}
		n := 0
		for n < len(b) && rerr == nil { // not io.ReadFull, which changes the error
			var more int
			more, rerr = r.Read(b[n:])
			n += more
		}
		size += int64(n)
		p.full <- b[:n] // never blocks: full has a place for each buffer
	}
	if rerr == io.EOF {
		rerr = nil
	}
	return size, rerr, nil
}

// drain writes the bytes to w, and returns when the other side is done, also after an error of w.
func (p *pipe) drain(w io.Writer) (err error) {
	for b := range p.full {
		if err != nil {
			continue
		}
		if _, err = w.Write(b); err != nil {
			close(p.stop)
			continue
		}
		p.free <- b[:cap(b)]
	}
	return err
}
