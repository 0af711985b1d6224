package binarycache

import (
	"context"
	"io"
)

const (
	pipeBuffers = 4
	pipeBuffer  = 128 << 10 // bytes
)

// pipe hands the bytes of an archive from the goroutine that decompresses to the one that hashes and writes, so that
// neither waits for the other longer than it must. Its memory is pipeBuffers buffers.
type pipe struct {
	ctx  context.Context
	full chan []byte   // closed by the goroutine that fills
	free chan []byte   // whole buffers
	stop chan struct{} // closed by the goroutine that drains, when it cannot go on
}

func newPipe(ctx context.Context) *pipe {
	p := &pipe{ctx: ctx, full: make(chan []byte, pipeBuffers), free: make(chan []byte, pipeBuffers), stop: make(chan struct{})}
	for range pipeBuffers {
		p.free <- nil // made when first used: most archives are small
	}
	return p
}

// fill sends what r has, and tells how much that was, and r's error (nil at its end) from that of the other side.
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
		for n < len(b) && rerr == nil { // not io.ReadFull: it makes one error of two
			var more int
			more, rerr = r.Read(b[n:])
			n += more
		}
		size += int64(n)
		p.full <- b[:n] // never waits: there are no more buffers than places
	}
	if rerr == io.EOF {
		rerr = nil
	}
	return size, rerr, nil
}

// drain writes what is sent to w, until the other side is done or w fails; then it still waits for the other side.
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
