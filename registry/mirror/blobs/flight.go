package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

var (
	// errAgain is what is wrong with a flight for a reader who may find the blob in another way.
	errAgain = errors.New("changed meanwhile")
	// errAsk, an ErrContent, is about a size that only the caller who started the flight knows of.
	errAsk = fmt.Errorf("%w", ErrContent)
)

// ask is what a caller knows of a blob.
type ask struct {
	want int64 // its size, or -1
	most int64 // the size above which it is of no use, or -1

	after *flight // that told the caller the size, and must not have failed; or nil
}

// flightKey is what flights are joined by.
type flightKey struct {
	key  key
	from *Origin // nil for a check
}

// flight is a file that is filled, or read through, while others read from it what is there already.
type flight struct {
	key    key
	from   *Origin // nil where it is read through
	ask    ask     // of the caller who started it
	entry  *entry  // the kept blob that is read through; nil where one is fetched
	cancel context.CancelFunc

	// These are guarded by Cache.mu.
	refs int // readers, callers who wait or are expected back, and the flight itself: the last one closes the file
	// expected give up the place of one who does not come back.
	expected []*time.Timer
	queued   bool   // waits for a slot, or for room
	slot     *room  // that it has a slot of; nil if it has none
	share    share  // of the room, or the passage: bytes set aside
	arrived  int64  // bytes of that share that are on the disk, or about to be
	passing  bool   // will not be kept; only f's own goroutine changes it
	yielded  bool   // has to end for another one
	proof    *proof // of the file that is kept; nil while it is not, or as it is not

	looked int64 // up to where the disk has been looked at; f's own goroutine's

	mu       sync.Mutex // guards what follows
	news     chan struct{}
	file     *os.File
	size     int64 // -1 while it is not known
	guessed  bool  // the size is that of the ask
	written  int64 // bytes that are in the file, or found readable
	verified bool  // all bytes are there and right
	ended    bool  // after err is set
	err      error
}

// check tells whether f reads through what is kept, in place of fetching it.
func (f *flight) check() bool { return f.entry != nil }

// tell changes f and wakes those who wait for it.
func (f *flight) tell(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	if f.news != nil {
		close(f.news)
		f.news = nil
	}
}

// wait returns once until, which is called with f locked, says so, or f has ended.
func (f *flight) wait(ctx context.Context, until func() bool) error {
	for {
		f.mu.Lock()
		if until() || f.ended {
			f.mu.Unlock()
			return nil
		}
		if f.news == nil {
			f.news = make(chan struct{})
		}
		news := f.news
		f.mu.Unlock()
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// agree waits until the size is known and returns it. It must be the one that the caller wants: with another, or an
// unproved one of a kept file, f is of use only once it has ended. An empty blob has no byte to hold back, so it is
// verified first.
func (f *flight) agree(ctx context.Context, a ask) (size int64, err error) {
	err = f.wait(ctx, func() bool {
		return f.verified || f.size > 0 && f.size == a.want || f.size > 0 && a.want < 0 && !f.check()
	})
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.failure(a); err != nil {
		return 0, err
	}
	return f.size, a.admits(f.key, f.size)
}

// admits returns an error for a size that is another one than the caller's.
func (a ask) admits(k key, size int64) error {
	if a.want >= 0 && size != a.want {
		return fmt.Errorf("blob %s: %w: %d bytes in place of %d", k, errAsk, size, a.want)
	}
	if a.most >= 0 && size > a.most {
		return fmt.Errorf("blob %s: %w: %d bytes, where %d are allowed", k, errAsk, size, a.most)
	}
	return nil
}

// failed returns the error of the fetch that the size is from. The Cache's lock is held, so that no other fetch begins
// before this one's end is known.
func (a ask) failed() error {
	if a.after == nil {
		return nil
	}
	a.after.mu.Lock()
	defer a.after.mu.Unlock()
	if err := a.after.failure(a); !errors.Is(err, errAgain) {
		return err
	}
	return nil
}

// failure is what the end of f means to a caller with this ask, nil while f may still bring the blob, or has. f is
// locked.
func (f *flight) failure(a ask) error {
	if !f.ended || f.verified {
		return nil
	}
	if errors.Is(f.err, errAsk) && (f.ask.want != a.want || f.ask.most != a.most) {
		return fmt.Errorf("%w: %w", errAgain, f.err)
	}
	return f.err
}

// writeRange writes a range of the blob as it arrives. The last byte is held back until the whole is verified, and until
// unchanged has looked at the file, which may be kept long before a slow reader comes to its end.
func (f *flight) writeRange(ctx context.Context, w io.Writer, off, n int64, a ask, buf []byte, unchanged func() error) (done int64, err error) {
	for done < n {
		there, err := f.await(ctx, off+done, off+n, a)
		if err != nil {
			return done, err
		}
		p := buf[:min(int64(len(buf)), there-off-done)]
		if err := readAt(f.file, p, off+done); err != nil {
			return done, fmt.Errorf("blob %s: %w", f.key, err)
		}
		if done+int64(len(p)) == n {
			if err := unchanged(); err != nil {
				return done, err
			}
		}
		m, err := w.Write(p)
		done += int64(m)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// await returns up to where the bytes from off to end may be given away, which is beyond off.
func (f *flight) await(ctx context.Context, off, end int64, a ask) (there int64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	err = f.wait(ctx, func() bool { return f.readable(end) > off })
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.failure(a); err != nil {
		return 0, err
	}
	return f.readable(end), nil
}

// readable is up to where the bytes before end may be given away. f is locked.
func (f *flight) readable(end int64) int64 {
	if f.verified {
		return end
	}
	return min(f.written, end-1)
}
