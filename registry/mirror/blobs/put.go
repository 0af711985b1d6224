package blobs

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Put keeps data, which must have the digest d: else the error matches [ErrContent]. What has no place, as what is larger
// than the whole cache, is not kept, which is no error. When Put returns, neither a kill nor a power cut harms the blob,
// but it may be absent after a power cut. Other errors are about the disk.
func (c *Cache) Put(ctx context.Context, d v1.Hash, data []byte) error {
	k, err := parseKey(d)
	if err != nil {
		return err
	}
	if sum := key(sha256.Sum256(data)); sum != k {
		return fmt.Errorf("blob %s: %w: digest %s", k, ErrContent, sum)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	todo, err := c.enter(k)
	if err != nil || !todo {
		return err
	}
	defer c.running.Done()
	if err := c.put(k, data); err != nil {
		return fmt.Errorf("blob %s: %w", k, err)
	}
	return nil
}

// enter tells whether k is yet to be put. Then Close waits for it.
func (c *Cache) enter(k key) (todo bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false, errClosed
	}
	if e := c.index.kept[k]; e != nil {
		if f, err := c.index.open(e); err == nil && f != nil { // on an error it is put again
			defer f.Close()
			if e.verified() {
				c.index.use(e, f)
				return false, nil
			}
		}
	}
	c.running.Add(1)
	return true, nil
}

func (c *Cache) put(k key, data []byte) error {
	f := &flight{key: k, size: int64(len(data))} // that nobody joins
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.setFree(f)
	}()
	gone, ok := c.arrive(f, f.size)
	c.unlink(gone)
	if !ok {
		return nil
	}
	if err := c.spare(f, f.size); err != nil || f.passing {
		c.log.Warn("blob is not kept, the disk is full", "digest", k)
		return nil
	}
	file, err := createTemp(c.index.dir)
	if err != nil {
		return err
	}
	defer file.Close()
	f.file = file
	err = c.write(f, file, data, 0)
	if err == nil {
		err = c.keep(f)
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return err
}
