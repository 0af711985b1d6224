package local

import (
	"io/fs"
	"syscall"
)

// inode returns the device, the inode and the ctime (nanoseconds since 1970) of a file.
func inode(fi fs.FileInfo) (dev, ino uint64, ctime int64) {
	st := fi.Sys().(*syscall.Stat_t)
	return uint64(st.Dev), st.Ino, st.Ctimespec.Nano()
}
