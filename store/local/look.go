package local

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"github.com/nixreg/nixreg/internal/filestamp"
)

// tick is longer than the step of file times on any kernel: a write more than a tick after a file's time changes that time.
const tick = 10 * time.Millisecond

// fresh is how long after a write State may have missed a part of it.
const fresh = time.Second

// file tells two versions of a database file apart without opening it: closing it would drop all POSIX locks of this process
// on it, SQLite's own included.
type file struct {
	exists   bool
	dev, ino uint64
	size     int64
	mtime    int64 // nanoseconds since 1970
	ctime    int64
}

// files are the database and SQLite's files beside it at one moment.
type files struct {
	db, wal, journal file
	shm              bool
	age              time.Duration // of the last write; not part of the identity
}

// mode is the way in which SQLite may read the files.
type mode uint8

const (
	_ mode = iota
	// live: another process has or had the database open. SQLite's locks and -wal keep reads consistent.
	live
	// still: no transaction is open and the database file is complete. SQLite reads it as immutable, without locks, write
	// access, -wal or -shm (which SQLite as root would create and leave). Each read checks afterwards that it did not change.
	still
	// copied: there is a -wal but no -shm (a crash, or a copy of the files). SQLite would create one, for which a reader
	// has no permission. Both files are copied, and the copy is read until they change.
	copied
)

// look reads the attributes of all files.
func look(db string) (l files, err error) {
	if l, err = glance(db); err != nil {
		return l, err
	}
	var shm file
	if shm, err = stat(db + "-shm"); err == nil {
		l.journal, err = stat(db + "-journal")
	}
	if err != nil {
		return files{}, fmt.Errorf("look at nix database: %w", err)
	}
	l.shm = shm.exists
	return l, nil
}

// glance reads the attributes of the files that each transaction changes: the database and its -wal.
func glance(db string) (l files, err error) {
	if l.db, err = stat(db); err == nil && !l.db.exists {
		err = &fs.PathError{Op: "stat", Path: db, Err: fs.ErrNotExist}
	}
	if err == nil {
		l.wal, err = stat(db + "-wal")
	}
	if err != nil {
		return files{}, fmt.Errorf("look at nix database: %w", err)
	}
	written := l.db.mtime
	if l.wal.size > 0 {
		written = max(written, l.wal.mtime)
	}
	l.age = time.Since(time.Unix(0, written))
	return l, nil
}

// stat reads the attributes of a file. An absent file is no error.
func stat(name string) (file, error) {
	s, err := filestamp.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return file{}, nil
	}
	if err != nil {
		return file{}, err
	}
	return file{exists: true, dev: s.Device, ino: s.Inode, size: s.Size, mtime: s.Mtime, ctime: s.Ctime}, nil
}

func (l files) mode() mode {
	switch {
	case l.journal.size > 0: // a transaction is open in a database without write-ahead log
		return live
	case l.wal.size > 0 && !l.shm:
		return copied
	case l.wal.exists && l.shm:
		return live
	default:
		return still
	}
}

// same reports whether no write came between l and the other look. l must be at least a tick after the last write.
func (l files) same(m files) bool {
	l.age, m.age = 0, 0
	return l == m
}

// settled reports whether a write after this look would change a time.
func (l files) settled() bool { return l.age < 0 || l.age >= tick }

// state leaves out an empty -wal: Nix creates and removes one each time it reads.
func (l files) state() string {
	var buf [128]byte
	s := appendNumbers(buf[:0], int64(l.db.dev), int64(l.db.ino), l.db.size, l.db.mtime)
	if l.wal.size > 0 {
		s = appendNumbers(append(s, '+'), int64(l.wal.ino), l.wal.size, l.wal.mtime)
	}
	if l.age >= 0 && l.age < fresh {
		s = append(s, '~')
	}
	return string(s)
}

func appendNumbers(b []byte, numbers ...int64) []byte {
	for i, n := range numbers {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	return b
}
