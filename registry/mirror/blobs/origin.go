package blobs

import (
	"bytes"
	"context"
	"errors"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const defaultFetches = 16

// Origin is a place that blobs come from, with fetches of its own: a slow one keeps no other waiting, and its errors
// reach only those who asked it. What is kept is the Cache's, wherever it is from. Safe for concurrent use.
type Origin struct {
	*Cache
	fetches *room // slots
}

// Origin returns a new origin, for as long as the Cache is open, of which no more than so many fetches run at once; 0
// is 16.
func (c *Cache) Origin(fetches int) *Origin {
	if fetches <= 0 {
		fetches = defaultFetches
	}
	return &Origin{Cache: c, fetches: newRoom(int64(fetches))}
}

// Blob returns the blob d, which is kept, or being fetched from this origin, or is fetched from now on. It returns when
// the size is known, and for a size that nobody says, when all bytes are there. The fetch belongs to the Cache: once it
// has begun it goes on to its end whoever leaves, unless nobody is left while another one waits for its slot or its
// room. It begins when there is a slot, and when its bytes can be set aside beside those of the other fetches.
//
// want is the size that the caller knows from elsewhere, -1 if none. A blob that has another, or is said to have another
// by its origin, gives an error matching [ErrContent]; a digest that is not sha256, one matching [fs.ErrInvalid]; a
// closed Cache, one matching [fs.ErrClosed]. A nil fetch stands for an origin that has nothing. Other errors are those
// of fetch, or about the disk, which match none of the kinds in package fs; with too many files open, they match
// [syscall.EMFILE] or [syscall.ENFILE].
func (o *Origin) Blob(ctx context.Context, d v1.Hash, want int64, fetch Fetch) (*Blob, error) {
	k, err := parseKey(d)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		found, err := o.open(ctx, k, ask{want: max(want, -1), most: -1}, fetch)
		if err == nil {
			return o.blob(found, fetch), nil
		}
		if !errors.Is(err, errAgain) || try == maxTries {
			return nil, err
		}
	}
}

func (o *Origin) blob(found find, fetch Fetch) *Blob {
	b := &Blob{origin: o, key: found.key, size: found.size, fetch: fetch, flight: found.fetched()}
	if b.flight != nil && o.needs(b.flight) {
		b.hold(b.flight)
	} else {
		o.close(context.Background(), found)
	}
	return b
}

// needs tells whether f must be held to be read: it may end for others, or what it brings is not kept.
func (c *Cache) needs(f *flight) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return f.passing || c.flights[flightKey{f.key, f.from}] == f
}

// Bytes returns the whole of a small blob, verified. One of more than most bytes gives an error matching [ErrContent].
// Without fetch, only what is kept is returned; what is not gives an error matching [fs.ErrNotExist]. Otherwise it is
// like [Origin.Blob].
func (o *Origin) Bytes(ctx context.Context, d v1.Hash, most int64, fetch Fetch) ([]byte, error) {
	k, err := parseKey(d)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		data, err := o.bytes(ctx, k, ask{want: -1, most: max(most, 0)}, fetch)
		if !errors.Is(err, errAgain) || try == maxTries {
			return data, err
		}
	}
}

func (o *Origin) bytes(ctx context.Context, k key, a ask, fetch Fetch) ([]byte, error) {
	found, err := o.open(ctx, k, a, fetch)
	if err != nil {
		return nil, err
	}
	defer o.close(ctx, found)
	var buf bytes.Buffer
	buf.Grow(int(found.size) + bytes.MinRead)
	if _, err := o.send(ctx, &buf, found, 0, found.size, a); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// Fetching tells whether a blob is on its way from this origin, and the size that the origin says, -1 if it has not yet.
func (o *Origin) Fetching(d v1.Hash) (size int64, ok bool) {
	k, err := parseKey(d)
	if err != nil {
		return -1, false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	f := o.flights[flightKey{k, o}]
	if f == nil {
		return -1, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size, true
}

// A find is where a blob is: in a file that is verified, or in a flight. Its finder closes it.
type find struct {
	key    key
	file   *os.File
	proof  *proof // of file
	flight *flight
	size   int64
}

// fetched is the flight, if it is a fetch.
func (f find) fetched() *flight {
	if f.flight == nil || f.flight.check() {
		return nil
	}
	return f.flight
}

// open finds a blob of a size that the caller asks for, which may yet have to be learnt.
func (o *Origin) open(ctx context.Context, k key, a ask, fetch Fetch) (find, error) {
	if err := ctx.Err(); err != nil {
		return find{}, err
	}
	found, err := o.find(k, a, fetch)
	if err != nil {
		return find{}, err
	}
	found.key = k
	if found.file != nil {
		err = a.admits(k, found.size)
	} else {
		found.size, err = found.flight.agree(ctx, a)
	}
	if err != nil {
		o.close(ctx, found)
		return find{}, err
	}
	return found, nil
}

// close is for the finder, who may leave because ctx has ended.
func (c *Cache) close(ctx context.Context, found find) {
	if found.file != nil {
		found.file.Close()
		return
	}
	c.part(ctx, found.flight)
}
