package channel

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// The last good index of a channel is the file indexFile in a folder of its own. Its time says when it was last in use.
const indexFile = "index"

// unusedFor is how long the index of a channel that nobody opens is kept.
const unusedFor = 30 * 24 * time.Hour

// ownFolder is the name of a channel's folder: see [Channel.restore].
var ownFolder = regexp.MustCompile(`^.+-[0-9a-f]{8}$`)

// keep saves r for the next start, unless it is there.
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

// inUse notes that the index is. Where that fails it is made anew some day.
func (c *Channel) inUse() {
	if c.file != "" {
		now := time.Now()
		_ = os.Chtimes(c.file, now, now)
	}
}

// sweep removes what other channels kept that were not used for long.
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
		_ = os.Remove(dir) // if nobody has anything else in it
	}
	if err != nil {
		c.log.Warn("channel: what is not used any more stays", "folder", all, "error", err)
	}
}
