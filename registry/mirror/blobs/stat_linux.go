package blobs

import (
	"io/fs"
	"syscall"
)

// stampOf returns the stamp of a file.
func stampOf(fi fs.FileInfo) stamp {
	st := fi.Sys().(*syscall.Stat_t)
	return stamp{inode: st.Ino, ctime: st.Ctim.Nano()}
}
