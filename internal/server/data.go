package server

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// dataVersion is the layout of the data directory. It changes with what the records mean or how they are kept.
const dataVersion = "1"

// folders are the parts of a data directory: records are in "badger", compressed layers in "blobs", mirrored content in
// "mirror", base images of definitions in "bases", archives of caches in "nars", names of channels in "channels", and Nix's
// GC roots in "gcroots". "spool" is for files that lose their name once they are open.
type folders struct{ digests, spool, blobs, mirror, bases, nars, channels, gcroots string }

func foldersIn(dir string) folders {
	in := func(name string) string { return filepath.Join(dir, name) }
	return folders{in("badger"), in("spool"), in("blobs"), in("mirror"), in("bases"), in("nars"), in("channels"), in("gcroots")}
}

// dataDir is a data directory that this process has locked. Beside its folders the file "lock" holds the process ID and the
// command, "version" the layout.
type dataDir struct {
	folders
	lock *os.File
}

// openDataDir makes dir if it does not exist, and locks it for serve. Data of another version is moved aside. The caller
// closes it.
func openDataDir(dir string, log *slog.Logger) (*dataDir, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	d, err := lockDataDir(dir, "serve")
	if err != nil {
		return nil, err
	}
	if err := d.emptySpool(); err != nil {
		return nil, errors.Join(fmt.Errorf("data directory: %w", err), d.close())
	}
	if err := d.checkVersion(filepath.Join(dir, "version"), log); err != nil {
		return nil, errors.Join(fmt.Errorf("data directory %s: %w", dir, err), d.close())
	}
	return d, nil
}

// lockDataDir locks dir, which exists, for a command of this process. The caller closes it.
func lockDataDir(dir, command string) (*dataDir, error) {
	lock, err := lockFile(filepath.Join(dir, "lock"), command)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", dir, err)
	}
	return &dataDir{foldersIn(dir), lock}, nil
}

// emptySpool removes the files that a killed process left.
func (d *dataDir) emptySpool() error {
	if err := os.RemoveAll(d.spool); err != nil {
		return err
	}
	return os.Mkdir(d.spool, 0o700)
}

// close unlocks the directory.
func (d *dataDir) close() error { return d.lock.Close() }

// lockFile locks a file until the returned file is closed or the process ends. The file holds the process ID and the command,
// for the error of the next process.
func lockFile(name, command string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = fmt.Errorf("another nixreg %s", holder(f))
		}
		return nil, errors.Join(err, f.Close())
	}
	text := fmt.Appendf(nil, "%d\n%s\n", os.Getpid(), command)
	if _, err = f.WriteAt(text, 0); err == nil {
		err = f.Truncate(int64(len(text)))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// holder describes the process that wrote the lock file, as far as the file can be read.
func holder(f *os.File) string {
	b, err := io.ReadAll(io.LimitReader(f, 32))
	id, command, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	pid, perr := strconv.Atoi(id)
	if command != "verify" {
		command = "serve"
	}
	if err != nil || perr != nil {
		return command + " is using it"
	}
	return fmt.Sprintf("%s is using it (pid %d)", command, pid)
}

// checkVersion moves digests of another version to <digests>.old-<version>, replaces what was there, and writes the version of
// this program.
func (d *dataDir) checkVersion(file string, log *slog.Logger) error {
	found, err := readVersion(file)
	if err != nil || found == dataVersion {
		return err
	}
	younger, err := filepath.Glob(d.digests + "-[0-9]*") // generations of digests; the oldest alone is set aside
	if err != nil {
		return err
	}
	for _, dir := range younger {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	old := d.digests + ".old-" + found
	switch _, err := os.Lstat(d.digests); {
	case err == nil:
		if err := os.RemoveAll(old); err != nil {
			return err
		}
		if err := os.Rename(d.digests, old); err != nil {
			return err
		}
		log.Warn("data of another version is set aside, starting anew", "version", found, "wanted", dataVersion, "old", old)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	tmp := file + ".new"
	if err := os.WriteFile(tmp, []byte(dataVersion+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}

// readVersion returns the version of the data, or "unknown" if the file is absent or not a number.
func readVersion(file string) (string, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "unknown", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 16))
	if err != nil {
		return "", err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
	if err != nil {
		return "unknown", nil
	}
	return strconv.FormatUint(n, 10), nil
}
