package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/registry/mirror/blobs"
	"github.com/nixreg/nixreg/registry/pull/bases"
)

// Verification says how to verify a data directory.
type Verification struct {
	Dir    string
	DryRun bool // removes nothing
	// Damaged is called for each file that is damaged or cannot be read, with its name below Dir.
	Damaged func(name string, err error)
	// Progress is called with the bytes read so far and in all. It may be nil.
	Progress func(done, total int64)
}

// Verify reads all cached files of a data directory, compares them with their hashes, and removes the damaged ones. It returns
// an error if a file is damaged or unreadable, or if a server is using the directory.
func Verify(ctx context.Context, v Verification) (err error) {
	if _, err := os.Stat(v.Dir); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	data, err := lockDataDir(v.Dir, "verify")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, data.close()) }()
	files, err := keptFiles(data.folders)
	if err != nil {
		return err
	}
	return (&verification{Verification: v}).run(ctx, files)
}

// keptFile is a cached file. check reads its bytes and returns an error if they are wrong.
type keptFile struct {
	name  string
	check func(ctx context.Context, r io.Reader) error
}

// keptFiles returns the files of all caches, sorted by name.
func keptFiles(data folders) ([]keptFile, error) {
	var all []keptFile
	for _, dir := range []string{data.blobs, data.nars, data.mirror, data.bases} {
		if info, err := os.Lstat(dir); err == nil && !info.IsDir() {
			return nil, fmt.Errorf("%s is no directory: what it leads to is not nixreg's to remove", dir)
		}
	}
	for dir, list := range map[string]func(string) (map[string][sha256.Size]byte, error){
		data.blobs: layer.KeptBlobs, data.nars: keptArchives, data.mirror: blobs.Kept,
	} {
		files, err := list(dir)
		if err != nil {
			return nil, err
		}
		for name, sum := range files {
			all = append(all, keptFile{name, func(ctx context.Context, r io.Reader) error { return checkSum(r, sum) }})
		}
	}
	files, err := bases.Kept(data.bases)
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		all = append(all, keptFile{name, bases.Verify})
	}
	slices.SortFunc(all, func(a, b keptFile) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

func checkSum(r io.Reader, want [sha256.Size]byte) error {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return err
	}
	if got := h.Sum(nil); [sha256.Size]byte(got) != want {
		return fmt.Errorf("the hash of its bytes is sha256:%s, not sha256:%s", hex.EncodeToString(got), hex.EncodeToString(want[:]))
	}
	return nil
}

// verification is one run of Verify.
type verification struct {
	Verification
	done, total int64 // bytes
}

func (v *verification) run(ctx context.Context, files []keptFile) error {
	for _, f := range files {
		if info, err := os.Lstat(f.name); err == nil {
			v.total += info.Size()
		}
	}
	damaged, failed := 0, 0
	for i, f := range files {
		err := v.read(ctx, f)
		switch {
		case err == nil:
			continue
		case ctx.Err() != nil:
			return fmt.Errorf("interrupted: %d of %d files were read", i, len(files))
		case !isDamage(err):
			failed++
		default:
			damaged++
			err = v.remove(f, err)
		}
		v.Damaged(v.shown(f.name), err)
	}
	switch {
	case damaged > 0:
		return fmt.Errorf("%d of %d files in %s are damaged", damaged, len(files), v.Dir)
	case failed > 0:
		return fmt.Errorf("%d of %d files in %s cannot be read", failed, len(files), v.Dir)
	}
	return nil
}

// isDamage reports whether err is about the bytes of the file. Lack of memory or of file descriptors says nothing about them.
func isDamage(err error) bool {
	var system syscall.Errno
	return !errors.As(err, &system) || system == syscall.EIO
}

func (v *verification) shown(name string) string {
	if rel, err := filepath.Rel(v.Dir, name); err == nil {
		return rel
	}
	return name
}

// remove removes a damaged file, and adds to the reason whether that succeeded.
func (v *verification) remove(f keptFile, reason error) error {
	if v.DryRun {
		return reason
	}
	if err := os.Remove(f.name); err != nil && !errors.Is(err, fs.ErrNotExist) { // removes a directory only if it is empty
		return fmt.Errorf("%w; it cannot be removed: %w", reason, err)
	}
	return fmt.Errorf("%w; removed", reason)
}

// read checks the bytes on the disk, not those in the page cache.
func (v *verification) read(ctx context.Context, f keptFile) error {
	file, err := os.OpenFile(f.name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return errors.New("it is a link, not a file")
	}
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is no regular file")
	}
	dropCached(file)
	return f.check(ctx, &counted{ctx: ctx, r: file, of: v})
}

// counted reports progress, and fails after the context has ended.
type counted struct {
	ctx context.Context
	r   io.Reader
	of  *verification
}

func (c *counted) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(b)
	c.of.done += int64(n)
	if c.of.Progress != nil {
		c.of.Progress(c.of.done, c.of.total)
	}
	return n, err
}
