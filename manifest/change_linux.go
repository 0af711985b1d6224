package manifest

import (
	"io/fs"
	"syscall"
)

// changeOf returns the inode and the ctime (nanoseconds since 1970) of a file.
func changeOf(info fs.FileInfo) (inode uint64, ctime int64) {
	st := info.Sys().(*syscall.Stat_t)
	return st.Ino, st.Ctim.Nano()
}

// ownerOf returns the user that a file belongs to.
func ownerOf(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }
