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

// What tells directories that are removed when the command ends from all others, such as a data directory.
const (
	tempPrefix = "nixreg-command-"
	tempLock   = "command.lock"
)

// openTempDir makes a directory below parent for as long as the process lives; the caller calls remove. What was left by
// one that was killed is removed too: that may be gigabytes.
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

// takesLock is how old a directory has to be for its lock to say anything: a process makes one, and then takes it.
const takesLock = time.Minute

// removeLeft removes a directory of ours whose process is gone.
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
		_ = os.RemoveAll(dir) // if it fails, the next one tries
	}
}

func ours(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
