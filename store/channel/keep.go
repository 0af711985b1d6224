package channel

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// indexFile is the last good index, in a folder for each channel. Its modification time says when it was last used.
const indexFile = "index"

// unusedFor is how long an unused index is kept.
const unusedFor = 30 * 24 * time.Hour

// ownFolder matches the names of channels' folders: see [Channel.restore].
var ownFolder = regexp.MustCompile(`^.+-[0-9a-f]{8}$`)

// keep saves r for the next start, unless it is saved already.
func (c *Channel) keep(r *release, encoded []byte) {
	if c.file == "" || c.kept != nil && c.kept.state == r.state && c.kept.location == r.location && c.kept.seen == r.seen {
		return
	}
	c.kept = nil
	if err := r.save(c.file, encoded); err != nil {
		c.log.Warn("channel: its index is not kept for the next start", "channel", c.name, "error", err)
		return
	}
	c.kept = r
}

// touch marks the index as used. If that fails, a sweep may delete it, and it is made again.
func (c *Channel) touch() {
	if c.file != "" {
		now := time.Now()
		_ = os.Chtimes(c.file, now, now)
	}
}

// sweep removes the indexes of other channels that have not been used for long.
func (c *Channel) sweep(now time.Time) {
	if c.file == "" {
		return
	}
	all := filepath.Dir(filepath.Dir(c.file))
	entries, err := os.ReadDir(all)
	for _, e := range entries {
		if !e.IsDir() || !ownFolder.MatchString(e.Name()) {
			continue
		}
		dir := filepath.Join(all, e.Name())
		index := filepath.Join(dir, indexFile)
		if fi, failed := os.Lstat(index); failed != nil || now.Sub(fi.ModTime()) < unusedFor {
			continue
		}
		failed := os.Remove(index)
		if errors.Is(failed, fs.ErrNotExist) { // another channel was faster
			failed = nil
		}
		err = errors.Join(err, failed)
		_ = os.Remove(index + unfinished)
		_ = os.Remove(dir) // fails if other files are in it
	}
	if err != nil {
		c.log.Warn("channel: what is not used any more stays", "folder", all, "error", err)
	}
}
