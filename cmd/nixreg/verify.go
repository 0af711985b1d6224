package main

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
	"time"

	"github.com/spf13/cobra"

	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/registry/mirror/blobs"
)

// verifyOptions are the flags of verify that no other command has.
type verifyOptions struct{ dryRun, quiet bool }

func (p *program) verifyCommand() *cobra.Command {
	c, o := new(config), new(verifyOptions)
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Read all that is kept in the data directory, and remove what is damaged",
		Long: `Read all that is kept in the data directory from the disk, compare it with its hashes, and remove what is damaged:
compressed layers, archives from caches, mirrored blobs and base images. What is removed is made or fetched again when it
is next asked for.

Each damaged file is one line. With nothing damaged nothing is said. No serve may be using the directory meanwhile.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.fill(cmd, p.lookupEnv); err != nil {
				return err
			}
			return p.verify(cmd.Context(), c, o)
		},
	}
	c.dataFlag(cmd)
	c.fileFlag(cmd)
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "remove nothing")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "show no progress")
	return cmd
}

func (p *program) verify(ctx context.Context, c *config, o *verifyOptions) (err error) {
	ctx, stop := p.untilSignal(ctx)
	defer stop()
	dir, err := c.dataDir()
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	data, err := lockDataDir(dir, "verify")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, data.close()) }()
	files, err := keptFiles(data)
	if err != nil {
		return err
	}
	bar := &progress{w: p.stderr, terminal: isTerminal(p.stderr), now: time.Now}
	v := &verification{options: o, dir: dir, out: bar}
	if !o.quiet {
		v.progress = bar.report
	}
	err = v.run(ctx, files)
	bar.clear()
	return err
}

// keptFile is a file of the data directory. Its check gets the bytes, and says whether they are right.
type keptFile struct {
	name  string
	check func(ctx context.Context, r io.Reader) error
}

// keptFiles are those of all caches, by name.
func keptFiles(data *dataDir) ([]keptFile, error) {
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
	files, err := (&bases{dir: data.bases}).files()
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		all = append(all, keptFile{name, verifyBase})
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

// verification reads files one after the other.
type verification struct {
	options  *verifyOptions
	dir      string
	out      io.Writer               // gets a line for each damaged file
	progress func(done, total int64) // nil: none is shown

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
		fmt.Fprintf(v.out, "nixreg: %s: %v\n", v.shown(f.name), err)
	}
	switch {
	case damaged > 0:
		return fmt.Errorf("%d of %d files in %s are damaged", damaged, len(files), v.dir)
	case failed > 0:
		return fmt.Errorf("%d of %d files in %s cannot be read", failed, len(files), v.dir)
	}
	return nil
}

// isDamage tells what is wrong with a file from what kept it from being read: a system that has no descriptors or no memory
// left says nothing of the bytes.
func isDamage(err error) bool {
	var system syscall.Errno
	return !errors.As(err, &system) || system == syscall.EIO
}

func (v *verification) shown(name string) string {
	if rel, err := filepath.Rel(v.dir, name); err == nil {
		return rel
	}
	return name
}

// remove removes a damaged file, and adds to the reason what became of it.
func (v *verification) remove(f keptFile, reason error) error {
	if v.options.dryRun {
		return reason
	}
	if err := os.Remove(f.name); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a directory, only if it is empty
		return fmt.Errorf("%w; it cannot be removed: %w", reason, err)
	}
	return fmt.Errorf("%w; removed", reason)
}

// read checks the bytes that are on the disk, which may be others than those in memory.
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

// counted tells how far the reading is, and ends with the context.
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
	if c.of.progress != nil {
		c.of.progress(c.of.done, c.of.total)
	}
	return n, err
}
