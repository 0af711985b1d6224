package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The prefix and the lock file mark the temporary directories of commands. A data directory has neither.
const (
	tempPrefix = "nixreg-command-"
	tempLock   = "command.lock"
)

// openTempDir makes a directory below parent, which the caller removes by calling remove. It first removes directories of
// processes that were killed: they may have gigabytes.
func openTempDir(parent string) (dir string, remove func() error, err error) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return "", nil, fmt.Errorf("temporary directory: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			removeLeft(filepath.Join(parent, e.Name()))
		}
	}
	if dir, err = os.MkdirTemp(parent, tempPrefix); err != nil {
		return "", nil, err
	}
	lock, err := lockFile(filepath.Join(dir, tempLock), "command")
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dir, func() error { return errors.Join(os.RemoveAll(dir), lock.Close()) }, nil
}

// takesLock is the age from which an unlocked directory counts as abandoned: a process locks its directory shortly after it has
// made it.
const takesLock = time.Minute

// removeLeft removes a directory of this user if its process has ended.
func removeLeft(dir string) {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || !ours(info) || time.Since(info.ModTime()) < takesLock {
		return
	}
	lock, err := os.OpenFile(filepath.Join(dir, tempLock), os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer lock.Close()
	if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		_ = os.RemoveAll(dir) // the next command tries again
	}
}

func ours(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
