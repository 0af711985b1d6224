// Package filestamp tells whether a file is still the one whose bytes were verified, and sends a range of such a file.
//
// The package owns what tells one state of a file from the next. It must not know what files are for.
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

// Stamp is the state of a file. Every write to the file, and every change of its times, moves the stamp, except within one
// tick of the file system's clock. The zero Stamp is that of no file.
type Stamp struct {
	Size          int64
	Device, Inode uint64
	Mtime, Ctime  int64 // nanoseconds since 1970
}

// Of returns the stamp of a file, and how many names the file has.
func Of(info fs.FileInfo) (s Stamp, names uint64) { return ofSystem(info.Sys().(*syscall.Stat_t)) }

// Stat returns the stamp of the file called name, which it follows to the end of symbolic links. It takes half the time of
// [os.Stat], and its errors are those of that.
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

// Changed says how an open file differs from s; "" says that it does not. A file that lost its last name keeps its bytes
// while it is open: that this moved its ctime is no change.
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

// Backdate gives a file a time that no write from now on can give it, however coarse the clock of the file system is. The
// caller takes the stamp afterwards, and sees there what went wrong.
func Backdate(name string) {
	then := time.Now().Add(-2 * time.Second)
	_ = os.Chtimes(name, then, then)
}
