package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
)

// What comes from outside may unpack to so many times its size, and a fixed number of bytes more. Gzip cannot unpack to
// more; zstd can, to some 30,000 times as much.
//
// Source: RFC 1951: at best 258 bytes are two bits.
const (
	unpackedRatio = 1100
	unpackedSlack = 1 << 30
)

// limit is how many bytes size bytes may unpack to.
func (m *Maker) limit(size int64) int64 {
	slack := m.slack
	if slack == 0 {
		slack = unpackedSlack
	}
	if size > (math.MaxInt64-slack)/unpackedRatio {
		return math.MaxInt64 - 1
	}
	return size*unpackedRatio + slack
}

// boundedReader reads what a decoder gives, until there is more than the limit or the context ends: a decoder may give
// much before it asks for its input again, which looks at the context, too.
type boundedReader struct {
	ctx         context.Context
	r           io.Reader
	limit, left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		b.left = 0
		return 0, fmt.Errorf("unpacks to more than %d bytes: %w", b.limit, errors.ErrUnsupported)
	}
	return n, err
}
