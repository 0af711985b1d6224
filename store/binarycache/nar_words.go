package binarycache

import (
	"encoding/binary"
	"io"
)

// tokens are the format's own words.
var tokens = [...]string{"(", ")", "", "type", "regular", "executable", "contents", "symlink", "target", "directory", "entry", "name", "node", "nix-archive-1"}

// expect reads strings that have to be these.
func (p *narParser) expect(want ...string) error {
	for _, w := range want {
		got, err := p.token()
		if err != nil {
			return err
		}
		if got != w {
			return corrupt("%q where %q should be", got, w)
		}
	}
	return nil
}

// token reads one of the format's own words, or another string that is no longer than the longest of them.
func (p *narParser) token() (string, error) {
	n, err := p.length(int64(len("nix-archive-1")))
	if err != nil {
		return "", err
	}
	b := p.word[:n]
	if err := p.read(b); err != nil {
		return "", err
	}
	s := known(b)
	return s, p.padding(n)
}

// known returns b as a string, which is allocated only if it is none of tokens.
func known(b []byte) string {
	for _, t := range tokens {
		if t == string(b) {
			return t
		}
	}
	return string(b)
}

func (p *narParser) string(limit int) (string, error) {
	n, err := p.length(int64(limit))
	if err != nil {
		return "", err
	}
	b := make([]byte, n)
	if err := p.read(b); err != nil {
		return "", err
	}
	return string(b), p.padding(n)
}

func (p *narParser) length(limit int64) (int64, error) {
	b := p.word[:8]
	if err := p.read(b); err != nil {
		return 0, err
	}
	n := binary.LittleEndian.Uint64(b)
	if n > uint64(limit) {
		return 0, corrupt("length %d, at most %d are allowed", n, limit)
	}
	return int64(n), nil
}

// padding reads the zero bytes that follow n bytes, up to a multiple of eight.
func (p *narParser) padding(n int64) error {
	pad := p.word[:-n&7]
	if err := p.read(pad); err != nil {
		return err
	}
	for _, b := range pad {
		if b != 0 {
			return corrupt("padding is not zero")
		}
	}
	return nil
}

// skip passes n bytes, without reading them where the reader can seek: that they are there is seen by what follows them.
func (p *narParser) skip(n int64) error {
	p.off += n
	if ahead := n - int64(p.r.Buffered()); p.seek != nil && ahead > int64(p.r.Size()) {
		if _, err := p.seek.Seek(ahead, io.SeekCurrent); err != nil {
			return io.ErrUnexpectedEOF // no file is that long
		}
		p.r.Reset(p.src)
		return nil
	}
	_, err := io.CopyN(io.Discard, p.r, n)
	return err
}

func (p *narParser) read(b []byte) error {
	n, err := io.ReadFull(p.r, b)
	p.off += int64(n)
	return err
}
