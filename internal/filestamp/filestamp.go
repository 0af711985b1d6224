// Package filestamp shows whether a file has changed since its bytes were verified, and sends a range of such a file.
//
// It owns the attributes that tell one state of a file from another. It must not know the purpose of a file.
//
//	s, _ := filestamp.Of(info)
//	how := s.Changed(file)
package filestamp

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// Stamp is the state of a file. Every write and every change of the file's times changes the stamp, except within one tick
// of the file system's clock. No file has the zero Stamp.
type Stamp struct {
	Size          int64
	Device, Inode uint64
	Mtime, Ctime  int64 // nanoseconds since 1970
}

// Of returns the stamp of a file and its number of names (hard links).
func Of(info fs.FileInfo) (s Stamp, names uint64) { return ofSystem(info.Sys().(*syscall.Stat_t)) }

// Stat returns the stamp of the file called name. It follows symbolic links, has the errors of [os.Stat], and takes half its
// time.
func Stat(name string) (Stamp, error) {
	var st syscall.Stat_t
	err := syscall.Stat(name, &st)
	for err == syscall.EINTR {
		err = syscall.Stat(name, &st)
	}
	if err != nil {
		return Stamp{}, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	s, _ := ofSystem(&st)
	return s, nil
}

// Changed describes how an open file differs from s; "" means that it does not. A file that has lost its last name keeps its
// bytes while it is open, so its new ctime does not count.
func (s Stamp) Changed(f *os.File) string {
	info, err := f.Stat()
	if err != nil {
		return err.Error()
	}
	now, names := Of(info)
	if names == 0 {
		now.Ctime = s.Ctime
	}
	switch {
	case !info.Mode().IsRegular():
		return "it is no regular file"
	case now.Size != s.Size:
		return fmt.Sprintf("it has %d bytes, had %d", now.Size, s.Size)
	case now != s:
		return "it was written to or touched"
	}
	return ""
}

// Backdate gives a file a time that no later write can give it, even on a file system with a coarse clock. The caller takes
// the stamp afterwards; an error shows there.
func Backdate(name string) {
	then := time.Now().Add(-2 * time.Second)
	_ = os.Chtimes(name, then, then)
}
