package digests

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/dgraph-io/badger/v4"
)

const (
	keptAsides = 3 // damaged directories

	// spareSpace is how many bytes must be free for a write: more than all files that badger maps before it fills them. A
	// mapped write to a full disk ends the process, without an error.
	spareSpace = 128 << 20
)

var (
	errLocked  = errors.New("another process is using it")
	errForeign = errors.New("not a digest cache: it has no " + badger.ManifestFilename)
)

// openOrSetAside opens dir. A damaged one is moved away, and an empty one takes its place.
func openOrSetAside(dir string, log *slog.Logger) (*badger.DB, error) {
	db, err := openDB(dir, log)
	if err == nil || environmental(err) {
		return db, err
	}
	aside, moved := setAside(dir)
	if moved != nil {
		return nil, errors.Join(err, moved)
	}
	log.Warn("digest cache was damaged, starting with an empty one", "dir", dir, "old", aside, "err", err)
	return openDB(dir, log)
}

func openDB(dir string, log *slog.Logger) (*badger.DB, error) {
	if fi, err := os.Lstat(dir); err == nil && fi.Mode().IsRegular() {
		return nil, errForeign
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := checkLocked(dir); err != nil {
		return nil, err
	}
	bl := &badgerLog{log: log}
	db, err := guardedOpen(badgerOptions(dir, bl))
	if err != nil {
		return nil, err
	}
	bl.opened.Store(true)
	return db, nil
}

func guardedOpen(o badger.Options) (db *badger.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			db, err = nil, fmt.Errorf("badger panicked: %v", r)
		}
	}()
	return badger.Open(o)
}

// checkLocked checks dir under badger's own lock, so that no process has dir open. The lock is released before badger takes it.
func checkLocked(dir string) error {
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := checkOurs(dir); err != nil {
		return err
	}
	if err := errors.Join(checkWritable(dir), checkSpace(dir, spareSpace)); err != nil {
		return err
	}
	return checkFiles(dir)
}

// checkOurs checks that dir is empty, or has the file that badger makes first. Any other directory is not ours to write to, be it
// the target of a link or the rest of an old cache.
func checkOurs(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	others := false
	for _, e := range entries {
		if e.Name() == badger.ManifestFilename {
			return nil
		}
		others = others || e.Name() != "LOCK" && !strings.HasPrefix(e.Name(), "probe-")
	}
	if others {
		return errForeign
	}
	return nil
}

// lockDir holds the lock (flock on the directory) until the file that it returns is closed.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errLocked
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock: %w", err)
	}
	return f, nil
}

// checkWritable writes to dir, so that an error comes early and with its kind.
func checkWritable(dir string) error {
	f, err := os.CreateTemp(dir, "probe-*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(make([]byte, 64<<10))
	return errors.Join(err, f.Close())
}

// checkSpace gives an error matching [syscall.ENOSPC] if less than spare bytes are free for dir.
func checkSpace(dir string, spare int64) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return fmt.Errorf("free space of %s: %w", dir, err)
	}
	if free := int64(st.Bavail) * int64(st.Bsize); free < spare {
		return fmt.Errorf("%d MB are free for %s, %d are needed: %w", free>>20, dir, spare>>20, syscall.ENOSPC)
	}
	return nil
}

// environmental reports whether err comes from the state of the machine, and not from the contents of the directory. Badger makes
// text of causes, so the text is searched as well.
func environmental(err error) bool {
	if errors.Is(err, errLocked) || strings.Contains(err.Error(), "Another process is using this Badger database") {
		return true
	}
	for _, e := range []syscall.Errno{
		syscall.EACCES, syscall.EPERM, syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT,
		syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO, syscall.ENOTDIR,
	} {
		if errors.Is(err, e) || strings.Contains(err.Error(), e.Error()) {
			return true
		}
	}
	return false
}

// setAside renames dir to the next free <dir>.damaged-<n> and removes all but the newest of them.
func setAside(dir string) (string, error) {
	lock, err := lockDir(dir)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	prefix := filepath.Clean(dir) + ".damaged-"
	old, err := numbered(prefix)
	if err != nil {
		return "", err
	}
	next := 1
	if len(old) > 0 {
		next = old[len(old)-1] + 1
	}
	aside := prefix + strconv.Itoa(next)
	if err := os.Rename(dir, aside); err != nil {
		return "", err
	}
	for _, n := range old[:max(0, len(old)+1-keptAsides)] {
		if err := os.RemoveAll(prefix + strconv.Itoa(n)); err != nil {
			return "", err
		}
	}
	return aside, nil
}

// numbered returns the numbers n of the directories <prefix><n>, sorted.
func numbered(prefix string) ([]int, error) {
	entries, err := os.ReadDir(filepath.Dir(prefix))
	if err != nil {
		return nil, err
	}
	var ns []int
	for _, e := range entries {
		s, ok := strings.CutPrefix(e.Name(), filepath.Base(prefix))
		if n, err := strconv.Atoi(s); ok && err == nil && n > 0 && strconv.Itoa(n) == s && e.IsDir() {
			ns = append(ns, n)
		}
	}
	slices.Sort(ns)
	return ns, nil
}

// removeDB deletes a directory, badger's manifest last: a directory without it is not ours, see checkOurs.
func removeDB(dir string) error {
	if err := checkOurs(dir); err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != badger.ManifestFilename {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
